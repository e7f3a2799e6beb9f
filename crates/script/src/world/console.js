// The console: the log of the node.

function logText(value) {
  if (typeof value === 'string') return value;
  if (value instanceof Error) return String(value.stack ? value.name + ': ' + value.message + '\n' + value.stack : value);
  if (typeof value === 'object' && value !== null) {
    try {
      return stringify(value) ?? show(value);
    } catch {
      return show(value);
    }
  }
  return typeof value === 'undefined' ? 'undefined' : typeof value === 'symbol' ? 'Symbol()' : show(value);
}
const console = {};
for (const [name, level] of [
  ['error', 0], ['warn', 1], ['log', 2], ['info', 2], ['dir', 2], ['table', 2], ['group', 2], ['debug', 3], ['trace', 3],
]) {
  console[name] = { [name](...values) {
    const texts = [];
    for (let i = 0; i < values.length; i++) texts[i] = logText(values[i]);
    host.log(level, join(texts, ' '), String(new Error().stack));
  } }[name];
}
console.assert = function assert(condition, ...values) {
  if (!condition) apply(console_error, console, ['assertion failed:', ...values]);
};
const console_error = console.error;
console.groupEnd = function groupEnd() {};
hide(global, 'console', console);
