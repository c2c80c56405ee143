// A safetensors file: 8 bytes that hold the length of the header, the header, the data.

import { FileError } from './errors.ts';
import { type Header, MAX_HEADER_BYTES, parseHeader } from './header.ts';
import { InputFile } from './input.ts';

/** Bytes before the header. */
export const LENGTH_BYTES = 8;

export interface Safetensors {
  readonly file: InputFile;
  readonly header: Header;
  /** The header as it stands in the file, with the spaces that fill it up. */
  readonly headerText: string;
  /** Where the data begin in the file. */
  readonly dataStart: number;
  readonly dataBytes: number;
}

/**
 * Opens a file and checks that it is safetensors; who opens it closes `file`.
 *
 * @throws FileError
 */
export async function openSafetensors(path: string): Promise<Safetensors> {
  const file = await InputFile.open(path);
  try {
    return await readSafetensors(file);
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function readSafetensors(file: InputFile): Promise<Safetensors> {
  const { path, size } = file;
  if (size < LENGTH_BYTES) throw new FileError(path, `not a safetensors file: it has ${size} bytes`);
  const lengthField = await file.read(0, LENGTH_BYTES);
  const declared = new DataView(lengthField.buffer).getBigUint64(0, true);
  if (declared > BigInt(MAX_HEADER_BYTES))
    throw new FileError(path, `not a safetensors file: a header of ${declared} bytes, more than ${MAX_HEADER_BYTES}`);
  const headerBytes = Number(declared);
  const dataStart = LENGTH_BYTES + headerBytes;
  if (dataStart > size)
    throw new FileError(path, `not a safetensors file: a header of ${headerBytes} bytes in a file of ${size}`);
  let headerText: string;
  try {
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
    headerText = decoder.decode(await file.read(LENGTH_BYTES, headerBytes));
  } catch (error) {
    if (error instanceof FileError) throw error;
    throw new FileError(path, 'not a safetensors file: its header is not UTF-8');
  }
  const dataBytes = size - dataStart;
  return { file, header: parseHeader(headerText, path, dataBytes), headerText, dataStart, dataBytes };
}
