// Standard input and output as files: a checkpoint is read and written at any place, and what is written gets out only when
// it is complete.

import { createReadStream, createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { FileError, fileErrorOf } from './errors.ts';
import { holdTemporary, letGo } from './temporary.ts';

export class StandardStreams {
  private readonly folder = mkdtempSync(join(tmpdir(), 'codecllm-'));
  /** Where they are as long as they are files. */
  readonly input = join(this.folder, 'standard input');
  readonly output = join(this.folder, 'standard output');

  constructor() {
    holdTemporary(this.folder, () => rmSync(this.folder, { recursive: true, force: true }) as undefined);
  }

  /** Reads standard input to its end. @throws FileError */
  async read(): Promise<void> {
    if (process.stdin.isTTY) throw new FileError('standard input', 'is a terminal');
    await pipeline(process.stdin, createWriteStream(this.input)).catch((error) => {
      throw fileErrorOf('standard input', error);
    });
  }

  /** Writes what is complete to standard output. @throws FileError */
  async write(): Promise<void> {
    await pipeline(createReadStream(this.output), process.stdout, { end: false }).catch((error) => {
      throw fileErrorOf('standard output', error);
    });
  }

  /** What messages call a file. */
  named(text: string): string {
    return text.replaceAll(join(this.folder, ''), '').replaceAll(/\/(standard (in|out)put)/g, '$1');
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
    letGo(this.folder);
  }
}
