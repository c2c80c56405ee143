// Opening a safetensors file, compressed or not.

import { type Header, headerLength, headerText, LENGTH_BYTES, parseHeader } from '../../spec/index.ts';
import { fileErrorOf } from '../files/errors.ts';
import { InputFile } from '../files/input.ts';

export interface Safetensors {
  readonly file: InputFile;
  readonly header: Header;
  /** The header as it stands in the file, with the spaces that fill it up. */
  readonly headerText: string;
  /** Where the data begin in the file. */
  readonly dataStart: number;
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
    throw fileErrorOf(path, error);
  }
}

async function readSafetensors(file: InputFile): Promise<Safetensors> {
  const { size } = file;
  const length = headerLength(await file.read(0, Math.min(LENGTH_BYTES, size)), size);
  const text = headerText(await file.read(LENGTH_BYTES, length));
  const dataStart = LENGTH_BYTES + length;
  return { file, header: parseHeader(text, size - dataStart), headerText: text, dataStart };
}
