// `npm run sbom`: what the project is made of, as a CycloneDX document on standard output. The part of npm is what
// package-lock.json says; of Python, what python/pyproject.toml asks for, whose versions are chosen where it is installed.
// The C++ is the project's own, but for the headers that npm has (node-addon-api, node-api-headers), and for CUDA's runtime
// where it is built with that, which is linked statically.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const { status, stdout, stderr } = spawnSync(
  'npm',
  ['sbom', '--package-lock-only', '--omit', 'dev', '--sbom-format', 'cyclonedx'],
  { cwd: root, encoding: 'utf8', shell: process.platform === 'win32' },
);
if (status !== 0) throw new Error(stderr);
const sbom = JSON.parse(stdout);

/** The requirements of a list in a TOML file: `name = ["package>=1.0"]`. */
function requirementsIn(toml, name) {
  const list = new RegExp(`^${name} = \\[([^\\]]*)\\]`, 'm').exec(toml);
  if (list === null) throw new Error(`pyproject.toml has no ${name}`);
  return [...list[1].matchAll(/"([A-Za-z0-9_-]+)([^"]*)"/g)].map(([, name, range]) => ({ name, range }));
}

const toml = readFileSync(`${root}/python/pyproject.toml`, 'utf8');
const required = requirementsIn(toml, 'dependencies');
const optional = [...requirementsIn(toml, 'torch'), ...requirementsIn(toml, 'transformers')];
const component = (scope, { name, range }) => ({
  'bom-ref': `pypi:${name}`,
  type: 'library',
  scope,
  name,
  purl: `pkg:pypi/${name.toLowerCase()}`,
  properties: [{ name: 'requirement', value: range }],
});
const python = new Map(optional.map((each) => [each.name, component('optional', each)]));
for (const each of required) python.set(each.name, component('required', each));
sbom.components.push(...python.values(), {
  'bom-ref': 'nvidia:cudart',
  type: 'library',
  scope: 'optional',
  name: 'CUDA Runtime',
  supplier: { name: 'NVIDIA' },
});
console.log(JSON.stringify(sbom, undefined, 2));
