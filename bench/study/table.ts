// Tables of Markdown.

export const NOTHING = 'not measured';

const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

export function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [row(head), row(head.map(() => '---')), ...rows.map(row)].join('\n');
}
