// The standard library, captured before any user code: nothing that this does to globals while it loads can change what
// the world inside does.

const { isArray } = Array;
const { apply, construct, ownKeys, getPrototypeOf, defineProperty, getOwnPropertyDescriptor } = Reflect;
const { freeze, keys, values, preventExtensions } = Object;
const { parse, stringify } = JSON;
const ObjectPrototype = Object.prototype, ArrayPrototype = Array.prototype;
const {
  Error, TypeError, ReferenceError, SyntaxError, RangeError, EvalError, URIError, InternalError, Promise, String,
  Map, Set, Symbol, BigInt, RegExp,
} = globalThis;
const NativeDate = Date;
const global = globalThis;

// A method of a container that user code may have replaced on its prototype by the time it is called.
const own = (object, prototype, ...names) => {
  for (const name of names) object[name] = prototype[name];
  return object;
};
const hide = (object, name, value) => defineProperty(object, name, { value, writable: true, enumerable: false, configurable: true });
const join = (list, separator) => apply(ArrayPrototype_join, list, [separator]);
const ArrayPrototype_join = ArrayPrototype.join;
const RegExp_test = RegExp.prototype.exec;
const matches = (pattern, text) => apply(RegExp_test, pattern, [text]) !== null;

// The engine asks this for the stack of every error, and so Rust hears of it when the stack was used up. How many frames
// there are, and how they are written, is nobody's to change: it would be state outside the state.
Error.prepareStackTrace = host.prepareStack;
for (const [name, value] of [['prepareStackTrace', undefined], ['stackTraceLimit', 10]]) {
  defineProperty(Error, name, { get() { return value; }, set() {}, enumerable: false, configurable: false });
}
hide(Error, 'captureStackTrace', function captureStackTrace(object) {
  hide(object, 'stack', new Error().stack);
});

// What Rust asks about an error in hand. Getters: where Rust calls a function, rquickjs has the engine count the stack from
// there anew, and an error at each level of a recursion would put its end off for ever. What a getter runs is limited by
// what is left. No code of the script runs in here: of the errors in it nobody would hear.
const trace = {
  error: undefined,
  sites: undefined,
  // Errors of the engine have a message of their own.
  get message() {
    const message = getOwnPropertyDescriptor(trace.error, 'message')?.value;
    return typeof message === 'string' ? message : '';
  },
  get text() {
    const { sites } = trace;
    let text = '';
    for (let i = 0; i < sites.length; i++) {
      const site = sites[i];
      text += '    at ' + (site.getFunctionName() ?? '<anonymous>') + (site.isNative()
        ? ' (native)\n'
        : ' (' + site.getFileName() + ':' + site.getLineNumber() + ':' + site.getColumnNumber() + ')\n');
    }
    return text;
  },
};

// `text.isWellFormed()` runs for every string of every new state; a direct call is three times as fast as `apply`.
defineProperty(String.prototype, 'isWellFormed', { writable: false, configurable: false });
defineProperty(String.prototype, 'toWellFormed', { writable: false, configurable: false });
