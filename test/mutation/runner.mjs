// A runner of Stryker's: asks vectors one by one, in their order, whether they notice a change, until one does. All of it
// is in the process that Stryker gives: a test runner that begins anew for each change takes longer than most vectors.

import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { build } from 'rolldown';

const require = createRequire(import.meta.url);

/** What the changed code says, and is told: which change it has, and how often that may be reached. */
const stryker = () => {
  globalThis.__stryker__ ??= {};
  return globalThis.__stryker__;
};

class Vectors {
  static inject = ['options'];

  constructor({ vectors }) {
    this.file = vectors.file;
    this.bundle = resolve(`vectors-${process.env.STRYKER_MUTATOR_WORKER ?? 0}.cjs`);
  }

  capabilities() {
    return { reloadEnvironment: true };
  }

  async init() {
    await build({
      input: this.file,
      platform: 'node',
      logLevel: 'silent',
      output: { file: this.bundle, format: 'cjs' },
    });
  }

  /** The vectors, and with them the codec: what it does when it is loaded may be what is changed. */
  load() {
    delete require.cache[this.bundle];
    return require(this.bundle).questions;
  }

  /** What each vector reaches. */
  async dryRun() {
    const state = stryker();
    const tests = this.load().map(({ name, ask }) => {
      state.currentTestId = name;
      const begin = performance.now();
      const failureMessage = failureOf(ask);
      const timeSpentMs = performance.now() - begin;
      return { id: name, name, timeSpentMs, status: failureMessage === undefined ? 0 : 1, failureMessage };
    });
    state.currentTestId = undefined;
    return { status: 'complete', tests, mutantCoverage: state.mutantCoverage };
  }

  async mutantRun({ activeMutant, testFilter, hitLimit, mutantActivation }) {
    const state = stryker();
    Object.assign(state, { activeMutant: undefined, hitCount: hitLimit === undefined ? undefined : 0, hitLimit });
    if (mutantActivation === 'static') state.activeMutant = activeMutant.id;
    let questions = [];
    const failedToLoad = failureOf(() => {
      questions = this.load();
    });
    if (failedToLoad !== undefined) return { status: 'killed', killedBy: ['loading'], failureMessage: failedToLoad, nrOfTests: 1 };
    state.activeMutant = activeMutant.id;
    const wanted = testFilter && new Set(testFilter);
    let asked = 0;
    for (const { name, ask } of questions) {
      if (wanted && !wanted.has(name)) continue;
      asked++;
      const failureMessage = failureOf(ask);
      if (failureMessage === undefined) continue;
      if (state.hitCount > hitLimit) return { status: 'timeout', reason: `it does not end: ${name}` };
      return { status: 'killed', killedBy: [name], failureMessage, nrOfTests: asked };
    }
    return { status: 'survived', nrOfTests: asked };
  }
}

function failureOf(work) {
  try {
    work();
    return undefined;
  } catch (error) {
    return `${error}`;
  }
}

/** A plugin of Stryker's. */
export const strykerPlugins = [{ kind: 'TestRunner', name: 'vectors', injectableClass: Vectors }];
