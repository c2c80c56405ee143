// What Stryker leaves alone: what an error says, which is not compared (FORMAT.md, section 9), names that only errors give,
// what the reference tells of a stream beside its tensor, and the arguments of a program that it refuses.

const MAKES_ERROR = /^(?:\w*Error|refuse|fail)$/;
const TELLS = new Set(['decodeTile', 'inspectFront', 'inspectTensor', 'streamLengths', 'quoted']);
const CHECKS_ARGUMENTS = new Set(['checkOptions', 'checkTensor', 'dtypeNamed']);

function whyNot({ node, parent, listKey }) {
  if (node.type === 'FunctionDeclaration' && (TELLS.has(node.id?.name) || CHECKS_ARGUMENTS.has(node.id?.name)))
    return 'no vector asks for it';
  const callee = parent?.callee?.property ?? parent?.callee;
  if (listKey === 'arguments' && MAKES_ERROR.test(callee?.name ?? '')) return 'what an error says';
  const isName = node.type === 'StringLiteral' && (listKey === 'arguments' || parent?.type === 'ReturnStatement');
  if (isName || node.type === 'TemplateLiteral') return 'a name that errors give';
  return undefined;
}

/** A plugin of Stryker's. */
export const strykerPlugins = [{ kind: 'Ignore', name: 'untold', value: { shouldIgnore: whyNot } }];
