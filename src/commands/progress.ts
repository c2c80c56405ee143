// A bar with rate and time left on standard error, when a person watches.

import { Presets, SingleBar } from 'cli-progress';

/** Shorter work needs no bar. */
const DELAY_MILLISECONDS = 500;

export interface ProgressBar {
  readonly update: (done: number, total: number) => void;
  readonly stop: () => void;
}

export function progressBar(): ProgressBar {
  const bar = new SingleBar(
    {
      format: '{bar} {percentage} % | {rate} MB/s | {eta_formatted} left',
      stream: process.stderr,
      clearOnComplete: true,
      hideCursor: true,
      etaBuffer: 50,
    },
    Presets.shades_classic,
  );
  const begin = performance.now();
  let shown = false;
  return {
    update: (done, total) => {
      const elapsed = performance.now() - begin;
      if (elapsed < DELAY_MILLISECONDS) return;
      const rate = (done / 1000 / elapsed).toFixed(1);
      if (shown) bar.update(done, { rate });
      else bar.start(total, done, { rate });
      shown = true;
    },
    stop: () => {
      if (shown) bar.stop();
    },
  };
}
