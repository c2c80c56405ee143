// Opening a safetensors file, compressed or not.

import { type Header, headerLength, headerText, LENGTH_BYTES, parseHeader } from '../../spec/index.ts';
import { FileError, fileErrorOf, problemOf } from '../files/errors.ts';
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
 * @param isGrowing whether the file may end before its data do
 * @throws FileError
 */
export async function openSafetensors(path: string, isGrowing = false): Promise<Safetensors> {
  const file = await InputFile.open(path);
  try {
    return await readSafetensors(file, isGrowing);
  } catch (error) {
    await file.close();
    throw fileErrorOf(path, error);
  }
}

/** What stands in the place of a large file that Git has not downloaded. */
const POINTER = 'version https://git-lfs.github.com/';

/** @throws FileError where a file that is growing does not have so many bytes yet */
export function checkArrived({ path, size }: InputFile, needed: number): void {
  if (size < needed) throw new FileError(path, `incomplete: ${needed - size} bytes missing`);
}

async function readSafetensors(file: InputFile, isGrowing: boolean): Promise<Safetensors> {
  const { size } = file;
  const begin = await file.read(0, Math.min(POINTER.length, size));
  if (new TextDecoder().decode(begin) === POINTER)
    throw new FileError(
      file.path,
      'not a safetensors file: it is a pointer of Git LFS, which has not downloaded the file',
    );
  if (isGrowing) checkArrived(file, LENGTH_BYTES);
  const length = headerLength(begin.subarray(0, LENGTH_BYTES), isGrowing ? Number.POSITIVE_INFINITY : size);
  const dataStart = LENGTH_BYTES + length;
  if (isGrowing) checkArrived(file, dataStart);
  const text = headerText(await file.read(LENGTH_BYTES, length));
  if (isGrowing) return { file, header: parseHeader(text), headerText: text, dataStart };
  try {
    return { file, header: parseHeader(text, size - dataStart), headerText: text, dataStart };
  } catch (error) {
    const missing = filledBy(text) - (size - dataStart);
    throw missing > 0 ? new FileError(file.path, `incomplete: ${missing} bytes missing; ${detailOf(error)}`) : error;
  }
}

/** The bytes that a header's tensors fill. @throws ContainerError */
function filledBy(text: string): number {
  return parseHeader(text).tensors.reduce((most, { end }) => Math.max(most, end), 0);
}

function detailOf(error: unknown): string {
  return problemOf(error).replace(/^not a safetensors file: /, '');
}
