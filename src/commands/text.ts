// Reports for people: sizes, ratios, and the table of `inspect`.

import type { Capability } from './doctor.ts';
import type { InspectedFile, InspectedTensor } from './inspect.ts';
import type { DirectoryReport, Estimate, FileReport, Report, VerifyReport } from './report.ts';

/** Three significant digits or more, in powers of 1000. */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  let value = bytes;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = unit === 0 ? 0 : value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

function formatRatio(before: number, after: number): string {
  return before === 0 ? '-' : `${((100 * after) / before).toFixed(2)} %`;
}

function formatTime({ seconds, megabytesPerSecond, threads, engine }: Report): string {
  return `${seconds.toFixed(2)} s, ${megabytesPerSecond.toFixed(1)} MB/s with ${count(threads, 'thread')} (${engine})`;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

function formatFiles({ files, filesCopied, filesKept }: Report, kept: string): string[] {
  if (files.length === 1 && filesCopied + filesKept === 0) return [];
  const keptText = filesKept === 0 ? '' : `, ${filesKept} ${kept}`;
  const others = count(Math.max(0, filesCopied - filesKept), 'other file');
  return [`${count(files.length, 'checkpoint')}${keptText}, ${others} copied`];
}

/** The whole of a directory, where it is more than its checkpoints. */
function formatDirectory(directory: DirectoryReport | undefined, decompressed = false): string[] {
  if (directory === undefined) return [];
  const { bytesBefore, bytesAfter, otherWeights, otherWeightsBytes } = directory;
  const sizes = [bytesBefore, bytesAfter].map(formatBytes);
  const [before, after] = decompressed ? [bytesAfter, bytesBefore] : [bytesBefore, bytesAfter];
  const others =
    otherWeights === 0
      ? ''
      : `; ${formatBytes(otherWeightsBytes)} of them, ${formatRatio(bytesBefore, otherWeightsBytes)}, are ${count(otherWeights, 'file')} of other formats (.bin, .pt, .pth, .gguf), left as they are`;
  return [`the whole directory: ${sizes.join(' -> ')}, ${formatRatio(before, after)} of the original${others}`];
}

export function formatCompressed(report: Report): string {
  const { input, output, bytesBefore, bytesAfter, tensorsCompressed, tensorsKept, tensorsCopied } = report;
  return [
    `${printable(input)} -> ${printable(`${output}`)}`,
    ...formatFiles(report, 'compressed already'),
    `${formatBytes(bytesBefore)} -> ${formatBytes(bytesAfter)}, ${formatRatio(bytesBefore, bytesAfter)} of the original`,
    `${count(tensorsCompressed, 'tensor')} compressed, ${tensorsKept} kept${formatCopied(tensorsCopied)}`,
    ...formatDirectory(report.directory),
    formatTime(report),
  ].join('\n');
}

function formatCopied(number: number): string {
  return number === 0 ? '' : `, ${number} stored once with another`;
}

/** @param bits that were enough of each weight, if not all were asked for */
export function formatDecompressed(report: Report, bits?: number): string {
  const { input, output, bytesBefore, bytesAfter } = report;
  const what = bits === undefined ? 'byte for byte the original: its SHA-256 is the same' : `coarse, of ${bits} bits`;
  return [
    `${printable(input)} -> ${printable(`${output}`)}`,
    ...formatFiles(report, 'not compressed'),
    `${formatBytes(bytesAfter)} -> ${formatBytes(bytesBefore)}, ${what}`,
    ...formatDirectory(report.directory, true),
    formatTime(report),
  ].join('\n');
}

/** A line for every file that is good, and for what cannot be checked; problems are told apart. */
export function formatVerified(report: VerifyReport): string {
  const { input, files, tensorsCompressed, problems, notChecked } = report;
  const lines =
    files.length === 1 && files[0].input === input ? [] : files.map((file) => `${printable(file.input)}: good`);
  for (const { path, problem } of notChecked) lines.push(`${printable(path)}: not checked: ${problem}`);
  const what = files.length === 1 ? 'the SHA-256' : `the SHA-256 of ${files.length} checkpoints`;
  const streams = count(tensorsCompressed, 'stream');
  if (problems.length === 0)
    lines.push(`${printable(input)}: good; ${streams} decoded, every check and ${what} compared`);
  return [...lines, ...formatUnchecked(files), formatTime(report)].join('\n');
}

export function formatEstimate({ input, bytesBefore, bytesAfter, bytesSampled, directory }: Estimate): string {
  return [
    `${printable(input)}: nothing is written`,
    `about ${formatBytes(bytesBefore)} -> ${formatBytes(bytesAfter)}, ${formatRatio(bytesBefore, bytesAfter)} of the original, estimated from ${formatBytes(bytesSampled)} of samples`,
    ...formatDirectory(directory).map((line) => `about ${line}`),
  ].join('\n');
}

/** Who reads single tensors of such a file does not notice damage of what is not a stream. */
function formatUnchecked(files: readonly FileReport[]): string[] {
  const unchecked = files.filter(({ checked }) => !checked);
  if (unchecked.length === 0) return [];
  const which = files.length === 1 ? 'it is' : `${unchecked.length} of them are`;
  return [`${which} of before there were checks of headers and kept tensors; compress again to have them`];
}

export function formatDoctor(found: readonly Capability[]): string {
  return found.map(({ name, usable, detail }) => `${usable ? 'yes' : 'no '}  ${name.padEnd(12)} ${detail}`).join('\n');
}

// ------------------------------------------------------------------------------------------------------ inspect

/** How the tiles of a stream are coded, plane by plane: "8+8: pairs 97 %, rans 3 % | raw". */
export function formatModes({ stream, copyOf }: InspectedTensor): string {
  if (copyOf !== undefined) return `as ${printable(copyOf)}`;
  if (stream === undefined) return 'kept';
  const planes = stream.modes.map((tiles) => {
    const modes = Object.entries(tiles).sort((a, b) => b[1] - a[1]);
    if (modes.length === 1) return modes[0][0];
    return modes.map(([mode, number]) => `${mode} ${formatShare(number, stream.tileCount)}`).join(', ');
  });
  const against = `against the base, ${formatShare(stream.unchangedTiles, stream.tileCount)} of the tiles unchanged; `;
  return `${stream.againstBase ? against : ''}${stream.split.join('+')}: ${planes.join(' | ')}`;
}

function formatShare(part: number, whole: number): string {
  const percent = Math.round((100 * part) / whole);
  return percent === 0 && part > 0 ? '< 1 %' : `${percent} %`;
}

export function formatInspected(files: readonly InspectedFile[]): string {
  const texts = files.map(formatFile);
  if (files.length > 1) {
    const before = files.reduce((sum, { bytesBefore }) => sum + bytesBefore, 0);
    const after = files.reduce((sum, { bytesAfter }) => sum + bytesAfter, 0);
    texts.push(
      `${files.length} checkpoints: ${formatBytes(before)} -> ${formatBytes(after)}, ${formatRatio(before, after)}`,
    );
  }
  return texts.join('\n\n');
}

function formatFile({ input, compressed, bases, bytesBefore, bytesAfter, prefixes, tensors }: InspectedFile): string {
  const rows = tensors.map((tensor) => {
    const { name, dtype, shape, bytesBefore: before, bytesAfter: after } = tensor;
    const modes = compressed ? formatModes(tensor) : '-';
    return [
      printable(name),
      printable(dtype),
      `[${shape}]`,
      `${before}`,
      `${after}`,
      formatRatio(before, after),
      modes,
    ];
  });
  const copies = tensors.filter((tensor) => tensor.copyOf !== undefined).length;
  const streams = tensors.filter((tensor) => tensor.compressed && tensor.copyOf === undefined).length;
  const total = compressed
    ? `${formatBytes(bytesBefore)} -> ${formatBytes(bytesAfter)}, ${formatRatio(bytesBefore, bytesAfter)} of the original`
    : `${formatBytes(bytesBefore)}, not compressed`;
  const kept = compressed
    ? `: ${streams} compressed, ${tensors.length - streams - copies} kept${formatCopied(copies)}`
    : '';
  const against = bases.map((base) => `against the file whose SHA-256 is ${base}`);
  const layers =
    prefixes.length === 0
      ? []
      : [
          `in layers: ${prefixes.map(({ bits, bytes }) => `${bits} bits in the first ${formatBytes(bytes)}`).join(', ')}`,
        ];
  return [
    printable(input),
    ...against,
    ...layers,
    formatTable(rows),
    `${count(tensors.length, 'tensor')}${kept}; ${total}`,
  ].join('\n');
}

const COLUMNS = ['tensor', 'dtype', 'shape', 'bytes before', 'bytes after', 'ratio', 'modes'];
const NUMBERS = [3, 4, 5];

/** Columns under each other, numbers to the right. Packages for this take minutes for the tensors of a large model. */
function formatTable(rows: readonly string[][]): string {
  const widths = COLUMNS.map((head, c) => rows.reduce((widest, row) => Math.max(widest, row[c].length), head.length));
  const rule = widths.map((width) => '-'.repeat(width));
  const format = (row: readonly string[]): string =>
    row
      .map((cell, c) => (NUMBERS.includes(c) ? cell.padStart(widths[c]) : cell.padEnd(widths[c])))
      .join('  ')
      .trimEnd();
  return [COLUMNS, rule, ...rows].map(format).join('\n');
}

/**
 * On one line, and without the characters by which a name could write to the reader's terminal, or show itself in another
 * order than it has.
 */
export function printable(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
