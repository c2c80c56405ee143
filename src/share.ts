// Plans and requests go to a worker thread with every slice. What is large in them is put into shared memory once, so
// that posting them costs next to nothing.

type TypedArray = Uint8Array | Uint16Array | Uint32Array | Float64Array;

/** A copy of plain objects and arrays whose typed arrays are in shared memory. */
export function share<T>(value: T): T {
  return shareAny(value) as T;
}

function shareAny(value: unknown): unknown {
  if (ArrayBuffer.isView(value)) {
    const array = value as TypedArray;
    const SharedArray = array.constructor as new (buffer: SharedArrayBuffer) => TypedArray;
    const shared = new SharedArray(new SharedArrayBuffer(array.byteLength));
    shared.set(array);
    return shared;
  }
  if (Array.isArray(value)) return value.map(shareAny);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, shareAny(each)]));
}

/** The buffers of all typed arrays in plain objects and arrays, each once: what can be moved instead of copied. */
export function buffersIn(value: unknown, found = new Set<ArrayBuffer>()): Set<ArrayBuffer> {
  if (ArrayBuffer.isView(value)) {
    if (value.buffer instanceof ArrayBuffer) found.add(value.buffer);
  } else if (value !== null && typeof value === 'object')
    for (const each of Object.values(value)) buffersIn(each, found);
  return found;
}
