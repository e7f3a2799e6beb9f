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

// `text.isWellFormed()` runs for every string of every new state; a direct call is three times as fast as `apply`.
defineProperty(String.prototype, 'isWellFormed', { writable: false, configurable: false });
defineProperty(String.prototype, 'toWellFormed', { writable: false, configurable: false });
