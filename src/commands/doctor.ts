// Which engines can be used here.

import { native, whyNotGpu, whyNotNative } from '../engine/native.ts';

/** Whether an engine can be used, and how or why not. */
export interface Capability {
  readonly name: string;
  readonly usable: boolean;
  readonly detail: string;
}

/** What this machine and this build can do. */
export function doctor(): Capability[] {
  const codec = native();
  const features = codec?.features();
  const noGpu = whyNotGpu();
  return [
    { name: 'ts', usable: true, detail: 'the reference codec; always there' },
    {
      name: 'native',
      usable: codec !== undefined,
      detail: features
        ? `version ${codec?.version()}; instruction sets: ${features.paths.join(', ')}`
        : `${whyNotNative()}`,
    },
    {
      name: 'gpu',
      usable: noGpu === undefined,
      detail: noGpu ?? `decodes on the first of the GPUs here: ${features?.gpus}`,
    },
  ];
}
