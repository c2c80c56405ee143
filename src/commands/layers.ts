// What follows the first layer of a tensor (FORMAT.md, section 11.1), added to it in memory.

import { quoted, refine } from '../../spec/index.ts';
import type { Engine } from '../engine/engine.ts';
import { FileError } from '../files/errors.ts';
import type { InputFile } from '../files/input.ts';
import { batchError, damageError, type Restorable } from '../format/compressed.ts';

/**
 * Decodes those layers of a tensor that are wanted.
 *
 * @param bytes of the tensor, as its first layer gives them; changed in place
 * @throws FileError where a layer is damaged, or not one of this tensor's
 */
export async function addLayers(
  engine: Engine,
  file: InputFile,
  { dtype, layers }: Restorable,
  bytes: Uint8Array,
): Promise<void> {
  for (const layer of layers) {
    const { name, position, storedBytes } = layer;
    const stream = { start: 0, length: storedBytes, tensorBytes: layer.bytes, base: undefined };
    const bits = await engine.decodeBatch({ fd: file.fd, position, length: storedBytes }, [stream]).catch((error) => {
      throw batchError(file.path, [layer], error, damageError);
    });
    if (!refine(bytes, dtype, layer, bits))
      throw new FileError(file.path, `${quoted(name)}: not a layer of what precedes it`);
    engine.release(bits);
  }
}
