// Where the checkout is, or the installed package, for code that runs from it as it is written, compiled under dist/, or
// bundled in dist/bin: the next folder above that holds package.json.

import { existsSync } from 'node:fs';

/** The URL of a file or folder, given its path from the top of the checkout or package. */
export function fromRoot(path: string): URL {
  for (let folder = new URL('.', import.meta.url); ; folder = new URL('..', folder))
    if (existsSync(new URL('package.json', folder)) || folder.href === new URL('..', folder).href)
      return new URL(path, folder);
}
