// What an error says is not compared, and so not changed: all that stands in brackets where one is made.

const MAKES_ERROR = /^(?:\w*Error|refuse|fail)$/;

/** A Stryker plugin that ignores it. */
export const strykerPlugins = [
  {
    kind: 'Ignore',
    name: 'errors',
    value: {
      shouldIgnore({ node, parent, listKey }) {
        const callee = parent && (parent.callee?.property ?? parent.callee);
        return listKey === 'arguments' && MAKES_ERROR.test(callee?.name ?? '') ? 'what an error says' : undefined;
      },
    },
  },
];
