// The world inside a container's heap. Evaluated once, before any user code, as a function of `host` (what Rust lends);
// gives back the functions that Rust calls. Everything from the standard library is captured here and now, so that
// nothing the user's code does to globals while it loads can change what these functions do.
(function (host) {
  'use strict';

  // Values nest at most this deep: serde_json, which shows them to people and programs, stops at 128.
  const DEPTH_MAX = 100;

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
  const join = (list, separator) => apply(ArrayPrototype_join, list, [separator]);
  const ArrayPrototype_join = ArrayPrototype.join;
  const RegExp_test = RegExp.prototype.exec;
  const matches = (pattern, text) => apply(RegExp_test, pattern, [text]) !== null;

  // `text.isWellFormed()` runs for every string of every new state; a direct call is three times as fast as `apply`.
  defineProperty(String.prototype, 'isWellFormed', { writable: false, configurable: false });
  defineProperty(String.prototype, 'toWellFormed', { writable: false, configurable: false });

  // ---- What runs, and what it may know ----------------------------------------------------------------------------

  const LOADING = 0, METHOD = 1, REDUCER = 2;
  const DECIDE = 0, REDUCE = 1;
  let running = LOADING;
  let time = 0, elapsed = 0;
  // The random stream is seeded when it is first asked for: most calls never do.
  let stream = -1, nth = 0;

  const random = () => {
    const kind = running === REDUCER ? REDUCE : DECIDE;
    if (stream !== kind) {
      stream = kind;
      host.seed(nth, kind);
    }
    return host.random();
  };

  // ---- JSON values ------------------------------------------------------------------------------------------------

  // Objects that are known to be frozen JSON all the way down, with how deep they nest.
  const checked = own(new WeakMap(), WeakMap.prototype, 'get', 'set');

  // Thrown by the fast walks; the slow walk then finds out where and what. Not an Error: it has no stack to pay for.
  const NOT_JSON = freeze({});
  let height = 0;
  // In the development check every property is looked at closely; else a getter passes as the value it gives.
  const thorough = host.thorough;

  // Checks a value that will only be stringified. Leaves out what `stringify` sorts out by itself (undefined, -0) and
  // lone surrogates, which are looked for in the text.
  function inspect(value, depth) {
    switch (typeof value) {
      case 'string':
      case 'boolean':
        return;
      case 'number':
        if (value - value !== 0) throw NOT_JSON;
        return;
      case 'object':
        break;
      default:
        throw NOT_JSON;
    }
    if (value === null) return;
    const known = checked.get(value);
    if (known !== undefined) {
      if (known + depth > DEPTH_MAX) throw NOT_JSON;
      return;
    }
    if (depth >= DEPTH_MAX) throw NOT_JSON;
    if (isArray(value)) {
      if (getPrototypeOf(value) !== ArrayPrototype) throw NOT_JSON;
      if (thorough) lookClosely(value);
      const length = value.length;
      for (let i = 0; i < length; i++) {
        const item = value[i];
        if (typeof item !== 'string') inspect(item, depth + 1);
      }
    } else {
      const prototype = getPrototypeOf(value);
      if (prototype !== ObjectPrototype && prototype !== null) throw NOT_JSON;
      if (thorough) lookClosely(value);
      const names = ownKeys(value);
      for (let i = 0; i < names.length; i++) {
        const name = names[i];
        if (typeof name === 'symbol') throw NOT_JSON;
        const item = value[name];
        if (typeof item !== 'string' && item !== undefined) inspect(item, depth + 1);
      }
    }
  }

  // The JSON text of a value that is checked in passing.
  function checkedText(value) {
    inspect(value, 0);
    const text = stringify(value);
    // `stringify` escapes lone surrogates so; but the text may also hold a backslash of its own.
    if (includes(text) && complaint(value, '') !== null) throw NOT_JSON;
    return text;
  }
  const String_includes = String.prototype.includes;
  const SURROGATE = ['\\ud'];
  const includes = (text) => apply(String_includes, text, SURROGATE);

  // What is too slow to look for always, and is there by strange code only: properties that JSON does not show.
  function lookClosely(value) {
    const array = isArray(value);
    const names = ownKeys(value);
    if (array && names.length !== value.length + 1) throw NOT_JSON;
    for (const name of names) {
      if (array && name === 'length') continue;
      const property = getOwnPropertyDescriptor(value, name);
      if (!('value' in property) || !property.enumerable) throw NOT_JSON;
    }
  }

  const COMMA = [','];
  function checkNames(names) {
    // Many are checked at once, joined by what is no surrogate.
    if (names.length > 4) {
      let text;
      try {
        text = apply(ArrayPrototype_join, names, COMMA);
      } catch (error) {
        if (isOutOfMemory(error)) throw error;
        throw NOT_JSON; // a symbol cannot be joined
      }
      if (!text.isWellFormed()) throw NOT_JSON;
      return;
    }
    for (let i = 0; i < names.length; i++) {
      const name = names[i];
      if (typeof name === 'symbol' || !name.isWellFormed()) throw NOT_JSON;
    }
  }

  // Freezes an action that JSON.parse made. What is in it often becomes a part of a state; itself it rarely does, so it
  // is not entered into `checked`, which costs as much as the freezing.
  function sealAction(action) {
    if (typeof action !== 'object' || action === null) return action;
    const items = isArray(action) ? action : values(action);
    for (let i = 0; i < items.length; i++) {
      const item = items[i];
      if (typeof item === 'object' && item !== null) seal(item);
    }
    return freeze(action);
  }

  // Freezes a state that JSON.parse made, which needs no checking.
  function seal(value) {
    if (typeof value !== 'object' || value === null) {
      height = 0;
      return value;
    }
    let high = 0;
    const items = isArray(value) ? value : values(value);
    for (let i = 0; i < items.length; i++) {
      const item = items[i];
      if (typeof item === 'object' && item !== null) {
        seal(item);
        if (height > high) high = height;
      }
    }
    freeze(value);
    checked.set(value, height = high + 1);
    return value;
  }

  // Makes a new state, or a part of one, frozen JSON; stops at what was checked before. In place, but for objects that
  // are frozen already (immer does that) and still hold what must go: those are copied.
  function settle(value, depth) {
    height = 0;
    switch (typeof value) {
      case 'string':
        if (!value.isWellFormed()) throw NOT_JSON;
        return value;
      case 'number':
        if (value - value !== 0) throw NOT_JSON;
        return value === 0 ? 0 : value;
      case 'boolean':
        return value;
      case 'object':
        break;
      default:
        throw NOT_JSON;
    }
    if (value === null) return null;
    const known = checked.get(value);
    if (known !== undefined) {
      if (known + depth > DEPTH_MAX) throw NOT_JSON;
      height = known;
      return value;
    }
    if (depth >= DEPTH_MAX) throw NOT_JSON;
    let high = 0;
    let copied = false;
    if (isArray(value)) {
      if (getPrototypeOf(value) !== ArrayPrototype) throw NOT_JSON;
      if (thorough) lookClosely(value);
      const length = value.length;
      for (let i = 0; i < length; i++) {
        const item = value[i];
        if (typeof item === 'string') {
          if (!item.isWellFormed()) throw NOT_JSON;
          continue;
        }
        if (typeof item === 'object' && item !== null) {
          const known = checked.get(item);
          if (known !== undefined) {
            if (known > high) high = known;
            continue;
          }
        }
        const settled = settle(item, depth + 1);
        if (height > high) high = height;
        if (settled !== item || (settled === 0 && 1 / item < 0)) {
          if (!copied && Object_isFrozen(value)) {
            copied = true;
            value = apply(ArrayPrototype_slice, value, []);
          }
          value[i] = settled;
        }
      }
    } else {
      const prototype = getPrototypeOf(value);
      if (prototype !== ObjectPrototype) {
        if (prototype !== null) throw NOT_JSON;
        // A state that was restored has Object.prototype everywhere: reducers must not be able to tell.
        copied = true;
        value = { ...value };
      }
      if (thorough) lookClosely(value);
      const names = ownKeys(value);
      checkNames(names);
      // Many are fetched at once; should there be some that do not show, the two lists are not in step.
      let items = names.length > 8 ? values(value) : null;
      if (items !== null && items.length !== names.length) items = null;
      for (let i = 0; i < names.length; i++) {
        const name = names[i];
        const item = items === null ? value[name] : items[i];
        if (typeof item === 'string') {
          if (!item.isWellFormed()) throw NOT_JSON;
          continue;
        }
        if (typeof item === 'object' && item !== null) {
          const known = checked.get(item);
          if (known !== undefined) {
            if (known > high) high = known;
            continue;
          }
        }
        if (item === undefined) {
          if (!copied && Object_isFrozen(value)) {
            copied = true;
            value = { ...value };
          }
          delete value[name];
          continue;
        }
        const settled = settle(item, depth + 1);
        if (height > high) high = height;
        if (settled !== item || (settled === 0 && 1 / item < 0)) {
          if (!copied && Object_isFrozen(value)) {
            copied = true;
            value = { ...value };
          }
          value[name] = settled;
        }
      }
    }
    if (high + depth >= DEPTH_MAX) throw NOT_JSON;
    freeze(value);
    checked.set(value, height = high + 1);
    return value;
  }
  const Object_isFrozen = Object.isFrozen;
  const ArrayPrototype_slice = ArrayPrototype.slice;

  // The slow walk: says what JSON cannot hold, and where.
  function complaint(value, root) {
    const above = [];
    const key = (name) => (matches(/^[A-Za-z_$][\w$]*$/, name) ? '.' + name : '[' + stringify(name) + ']');
    const find = (value, path) => {
      switch (typeof value) {
        case 'string':
          return value.isWellFormed() ? null : ['a string with a lone surrogate (half of a character)', path];
        case 'number':
          return value - value === 0 ? null : [String(value), path];
        case 'boolean':
          return null;
        case 'bigint':
          return ['a BigInt (use a number or a string)', path];
        case 'undefined':
          return ['undefined (use null)', path];
        case 'function':
          return ['a function', path];
        case 'symbol':
          return ['a symbol', path];
      }
      if (value === null) return null;
      for (let i = 0; i < above.length; i++) if (above[i] === value) return ['a cycle', path];
      const known = checked.get(value);
      if (above.length + (known ?? 1) > DEPTH_MAX) return ['values nested more than ' + DEPTH_MAX + ' deep', path];
      if (known !== undefined) return null;
      const prototype = getPrototypeOf(value);
      if (!isArray(value) && prototype !== ObjectPrototype && prototype !== null) {
        if (value instanceof NativeDate) return ['a Date (use its number of milliseconds)', path];
        if (value instanceof Map) return ['a Map (use a plain object)', path];
        if (value instanceof Set) return ['a Set (use an array or a plain object)', path];
        return [instanceName(value), path];
      }
      if (isArray(value) && prototype !== ArrayPrototype) return [instanceName(value), path];
      above[above.length] = value;
      const names = ownKeys(value);
      for (let i = 0; i < names.length; i++) {
        const name = names[i];
        if (typeof name === 'symbol') return ['a property with a symbol as its key', path];
        if (isArray(value) && name === 'length') continue;
        if (!name.isWellFormed()) return ['a key with a lone surrogate (half of a character)', path];
        const isIndex = isArray(value) && matches(/^(0|[1-9][0-9]*)$/, name);
        const inside = isIndex ? path + '[' + name + ']' : path + key(name);
        if (isArray(value) && !isIndex) return ['an array with a named property', inside];
        const property = getOwnPropertyDescriptor(value, name);
        if (!('value' in property)) return ['a getter (store the value)', inside];
        if (!property.enumerable) return ['a property that is not enumerable', inside];
        if (property.value === undefined && !isArray(value)) continue;
        const found = find(property.value, inside);
        if (found !== null) return found;
      }
      if (isArray(value)) {
        for (let i = 0; i < value.length; i++) {
          if (!(i in value)) return ['a hole in an array (use null)', path + '[' + i + ']'];
        }
      }
      above.length--;
      return null;
    };
    const found = find(value, root);
    return found === null ? null : found[0] + ' at ' + found[1];
  }

  function instanceName(value) {
    let name;
    try {
      name = value.constructor.name;
    } catch {
      name = undefined;
    }
    return typeof name === 'string' && name !== '' ? 'an instance of ' + name : 'a class instance';
  }

  // ---- Failures ---------------------------------------------------------------------------------------------------

  class Rejected {
    constructor(message, data) {
      this.message = message;
      this.data = data;
    }
  }

  function reject(message, data) {
    const text = message === undefined ? 'rejected' : message instanceof Error ? String(message.message) : String(message);
    throw new Rejected(text, data);
  }

  const isBug = (error) =>
    error instanceof TypeError || error instanceof ReferenceError || error instanceof RangeError
    || error instanceof SyntaxError || error instanceof InternalError || error instanceof URIError
    || error instanceof EvalError;
  // Where there is not even memory for an error, the engine throws null.
  const isOutOfMemory = (error) => error === null || (error instanceof InternalError && error.message === 'out of memory');

  // A failure as Rust reads it: kind F, and JSON.
  const failed = (message, stack, at) =>
    'F' + stringify({ message: message.toWellFormed(), stack: stack === undefined ? stack : stack.toWellFormed(), at });

  function thrownText(error) {
    if (error instanceof Error) return String(error.name) + ': ' + String(error.message);
    if (error instanceof Rejected) return 'reject(' + stringify(error.message) + ')';
    return 'threw ' + show(error) + '; throw an Error instead';
  }

  const stackOf = (error) => (error instanceof Error && typeof error.stack === 'string' ? error.stack : undefined);

  // What a method's throw means.
  function outcomeOfThrown(name, error) {
    if (error === NOT_JSON || isBug(error)) return failed(name + ': ' + thrownText(error), stackOf(error), places[name]);
    if (error instanceof Rejected) return rejection(name, error.message, error.data, true);
    if (error instanceof Error) return rejection(name, String(error.message), error.data, false);
    return failed(name + ' ' + thrownText(error), undefined, places[name]);
  }

  function rejection(name, message, data, strict) {
    message = message.toWellFormed();
    if (data !== undefined) {
      try {
        checkedText(data);
      } catch (error) {
        if (error !== NOT_JSON) throw error;
        if (strict) return failed(name + ' rejected with ' + (complaint(data, 'data') ?? 'what JSON cannot hold'), undefined, places[name]);
        data = undefined;
      }
    }
    return 'R' + stringify({ message, data });
  }

  // ---- The container ----------------------------------------------------------------------------------------------

  const slots = [];
  let methods = [], names = [], places = {};
  let reducer = null, invariant = null;
  let reducerPlace;
  let plain = false; // the 2016 form: methods get their arguments only

  // Where the batch in hand has got to; kept outside so that Rust finds it when the batch is cut short.
  let current, pending, outcomes = '', decided = 0;

  const plainThis = {
    getProvisionalState: () => current,
    getState() {
      throw new TypeError('a method cannot know the committed state; this.getProvisionalState() is what it is judged on');
    },
  };

  // One context for all methods and one for all reducers, filled anew for each call: making one costs more than a
  // small method does.
  const lend = (context, functions) => {
    for (const name of keys(functions)) defineProperty(context, name, { value: functions[name], enumerable: true });
    return Object.seal(context);
  };
  const methodContext = lend({ state: undefined, time: 0, elapsed: 0, origin: '', index: 0 }, { random, reject });
  const reducerContext = lend({ index: 0, time: 0, elapsed: 0, origin: '' }, { random });

  const place = (fn) => {
    try {
      const { fileName, lineNumber } = fn;
      return typeof fileName === 'string' && lineNumber > 0 ? fileName + ':' + lineNumber : undefined;
    } catch {
      return undefined;
    }
  };

  // Reduces; gives the failure as text, or undefined and leaves the new state in `pending`.
  function step(action, index, origin) {
    running = REDUCER;
    stream = -1;
    let next;
    try {
      reducerContext.index = index;
      reducerContext.time = time;
      reducerContext.elapsed = elapsed;
      reducerContext.origin = origin;
      next = reducer(current, action, reducerContext);
    } catch (error) {
      if (isOutOfMemory(error)) throw error;
      return failed('reduce: ' + thrownText(error), stackOf(error), reducerPlace);
    }
    if (next === current) return undefined;
    if (next === undefined) {
      return failed(
        'reduce returned undefined: return the state, unchanged when the action is unknown', undefined, reducerPlace,
      );
    }
    try {
      pending = settle(next, 0);
    } catch (error) {
      if (error !== NOT_JSON) {
        if (isOutOfMemory(error)) throw error;
        return failed('reduce: ' + thrownText(error), stackOf(error), reducerPlace);
      }
      if (next instanceof Promise) {
        return failed('reduce returned a Promise; a reducer is synchronous', undefined, reducerPlace);
      }
      return failed('reduce returned ' + (complaint(next, 'state') ?? 'what JSON cannot hold'), undefined, reducerPlace);
    }
    return undefined;
  }

  // `text`: [[...origins], [method, ...arguments], ...], where the origins come in runs: a name, and how many calls it
  // is for. Gives one line a call.
  function decide(text, from, to, base, first, now, since, length, reduces) {
    const calls = parse(text);
    current = slots[from];
    outcomes = '';
    decided = 0;
    time = now;
    elapsed = since;
    let index = base + 1;
    const origins = calls[0];
    let origin, turn = 0, run = 1;
    for (let i = 1; i < calls.length; i++) {
      const call = calls[i];
      const method = call[0];
      if (i === run) {
        origin = origins[turn];
        run += origins[turn + 1];
        turn += 2;
      }
      const name = names[method];
      let outcome;
      pending = current;
      running = METHOD;
      stream = -1;
      nth = first + i - 1;
      let action = null;
      try {
        if (name === undefined) {
          outcome = failed('there is no method ' + show(method) + '; the methods are ' + join(names, ', '));
        } else if (plain) {
          action = apply(methods[method], plainThis, apply(ArrayPrototype_slice, call, [1]));
        } else {
          methodContext.state = current;
          methodContext.time = time;
          methodContext.elapsed = elapsed;
          methodContext.origin = origin;
          methodContext.index = index;
          call[0] = methodContext;
          action = apply(methods[method], undefined, call);
        }
        if (action === null || action === undefined) {
          outcome ??= 'N';
        } else if (action instanceof Error) {
          outcome = outcomeOfThrown(name, action);
        } else {
          const json = checkedText(action);
          if (json.length > length) {
            outcome = failed(
              name + ' returned an action of ' + json.length + ' characters of JSON; at most ' + length + ' are allowed',
              undefined, places[name],
            );
          } else if (reduces) {
            outcome = step(sealAction(parse(json)), index, origin);
            if (outcome === undefined) {
              outcome = 'A' + json;
              index++;
            }
          } else {
            outcome = 'A' + json;
          }
        }
      } catch (error) {
        if (isOutOfMemory(error)) throw error;
        if (error !== NOT_JSON) outcome = outcomeOfThrown(name, error);
        else if (action instanceof Promise) {
          outcome = failed(
            name + ' returned a Promise; a method is synchronous: fetch first, then perform with the result',
            undefined, places[name],
          );
        } else outcome = failed(name + ' returned ' + (complaint(action, 'action') ?? 'what JSON cannot hold'), undefined, places[name]);
      }
      // Memory may run out in the next line; after it the call counts, with no branch at which it could be cut short.
      outcomes = outcomes + outcome + '\n';
      current = pending;
      decided++;
    }
    return keep(to);
  }

  // Ends a batch, whole or cut short: keeps the state and hands over what was decided.
  function keep(to) {
    const text = outcomes;
    slots[to] = current;
    current = pending = methodContext.state = undefined;
    outcomes = '';
    running = LOADING;
    return text;
  }

  // `text`: [[...origins], action, ...], all to be applied; `base` is the place before the first. Gives a failure, or
  // the empty string.
  function reduceAll(text, from, to, base, now, since) {
    const actions = parse(text);
    current = slots[from];
    time = now;
    elapsed = since;
    decided = 0;
    const origins = actions[0];
    let origin, turn = 0, run = 1;
    for (let i = 1; i < actions.length; i++) {
      nth = i - 1;
      if (i === run) {
        origin = origins[turn];
        run += origins[turn + 1];
        turn += 2;
      }
      pending = current;
      const failure = step(sealAction(actions[i]), base + i, origin);
      if (failure !== undefined) {
        running = LOADING;
        current = pending = undefined;
        return failure;
      }
      current = pending;
      decided++;
    }
    slots[to] = current;
    current = pending = undefined;
    running = LOADING;
    return '';
  }

  const write = (slot) => stringify(slots[slot]);

  function read(slot, text) {
    slots[slot] = seal(parse(text));
  }

  function release(slot) {
    slots[slot] = undefined;
  }

  // Undefined where there is no invariant; '' where it holds; else what it says.
  function holds(slot) {
    if (invariant === null) return undefined;
    running = REDUCER;
    try {
      const said = invariant(slots[slot]);
      if (said === undefined || said === null || said === true) return '';
      if (said === false) return 'the invariant does not hold';
      return said instanceof Error ? String(said.message) : String(said);
    } catch (error) {
      return error instanceof Error && !isBug(error) ? String(error.message) : thrownText(error);
    } finally {
      running = LOADING;
    }
  }

  // Takes what the script exports; gives [error] or the names of the methods.
  function adopt(exports, isPlain, slot) {
    const problem = (message) => ({ problem: message });
    plain = isPlain;
    const how = isPlain ? 'module.exports = { methods, reduce }' : 'export const methods = { ... }';
    if ((typeof exports !== 'object' && typeof exports !== 'function') || exports === null) {
      return problem('module.exports is ' + show(exports) + '; write ' + how);
    }
    let source = exports;
    // A bundler gives a CommonJS default export this form.
    if (source.reduce === undefined && source.methods === undefined && typeof source.default === 'object' && source.default !== null) {
      source = source.default;
    }
    const table = source.methods;
    if (table === undefined) return problem('there is no "methods"; write ' + how);
    if (typeof table !== 'object' || table === null || isArray(table)) {
      return problem('"methods" is ' + show(table) + ', but must be an object of functions');
    }
    const found = keys(table);
    if (found.length === 0) return problem('"methods" is empty: a container without methods can never change');
    for (let i = 0; i < found.length; i++) {
      const name = found[i];
      if (typeof table[name] !== 'function') {
        return problem('methods.' + name + ' is ' + show(table[name]) + ', but must be a function');
      }
      if (!name.isWellFormed()) return problem('the name of a method has a lone surrogate (half of a character)');
      methods[i] = table[name];
      names[i] = name;
      places[name] = place(table[name]);
    }
    if (typeof source.reduce !== 'function') {
      return problem(
        source.reduce === undefined
          ? 'there is no "reduce"; write ' + (isPlain ? how : 'export function reduce(state, action) { ... }')
          : '"reduce" is ' + show(source.reduce) + ', but must be a function',
      );
    }
    reducer = source.reduce;
    reducerPlace = place(reducer);
    if (source.invariant !== undefined) {
      if (typeof source.invariant !== 'function') {
        return problem('"invariant" is ' + show(source.invariant) + ', but must be a function');
      }
      invariant = source.invariant;
    }
    freezeRealm();
    const initial = initialState(source);
    if (initial.problem !== undefined) return initial;
    try {
      slots[slot] = settle(initial.state, 0);
    } catch (error) {
      if (error !== NOT_JSON) throw error;
      return problem('the initial state holds ' + (complaint(initial.state, 'state') ?? 'what JSON cannot hold'));
    }
    return { names, invariant: invariant !== null };
  }

  function initialState(source) {
    if (source.initialState !== undefined) return { state: source.initialState };
    if (!plain) {
      // A Redux reducer brings its initial state itself; asking it is what Redux does.
      const state = ask({ type: '@@conflux/INIT' });
      if (state !== undefined && state.problem === undefined) return state;
      return { problem: 'there is no "initialState"; write export const initialState = ...' };
    }
    const state = ask(null);
    if (state !== undefined && state.problem === undefined) return state;
    const again = ask(freeze({ type: '@@conflux/INIT' }));
    if (again !== undefined && again.problem === undefined) return again;
    if (again !== undefined) return { problem: 'reduce(undefined, { type: "@@conflux/INIT" }) threw ' + again.problem };
    return { problem: 'reduce(undefined, null) gave undefined; it must give the initial state' };
  }

  function ask(action) {
    running = REDUCER;
    try {
      const state = reducer(undefined, action, reducerContext);
      return state === undefined ? undefined : { state };
    } catch (error) {
      if (isOutOfMemory(error)) throw error;
      return { problem: thrownText(error) };
    } finally {
      running = LOADING;
    }
  }

  // ---- CommonJS ---------------------------------------------------------------------------------------------------

  const modules = own(new Map(), Map.prototype, 'get', 'set');

  function requireFrom(base) {
    return function require(specifier) {
      if (running !== LOADING) throw new TypeError('require(' + show(specifier) + ') in a method or reducer: require at the top of the file');
      if (typeof specifier !== 'string') throw new TypeError('require takes a string, but got ' + show(specifier));
      return run(host.resolve(base, specifier));
    };
  }

  function run(name) {
    const known = modules.get(name);
    if (known !== undefined) return known.exports;
    const module = { exports: {}, id: name, filename: name, loaded: false };
    modules.set(name, module);
    if (name.endsWith('.json')) {
      module.exports = parse(host.read(name));
    } else {
      const directory = name.includes('/') ? name.slice(0, name.lastIndexOf('/')) : '.';
      const body = host.compile(name);
      apply(body, module.exports, [module.exports, requireFrom(name), module, name, directory]);
    }
    module.loaded = true;
    return module.exports;
  }

  // ---- Globals ----------------------------------------------------------------------------------------------------

  const hide = (object, name, value) => defineProperty(object, name, { value, writable: true, enumerable: false, configurable: true });

  function clockError(what, instead) {
    const where = running === REDUCER ? 'a reducer' : 'code that runs at load';
    const advice = running === REDUCER
      ? 'the third argument of reduce has ' + instead + ', the same on every node; or let the method put it into the action'
      : 'a method\'s context has ' + instead;
    return new TypeError(what + ' in ' + where + ' would differ between nodes: ' + advice);
  }

  function nowFor(what) {
    if (running !== METHOD) throw clockError(what, '`time`');
    return time;
  }

  // Math: sums and roots are exact everywhere; these differ between math libraries, so they come from one.
  for (const name of keys(host.math)) {
    const native = host.math[name];
    hide(Math, name, native.length === 2
      ? { [name](x, y) { return native(+x, +y); } }[name]
      : { [name](x) { return native(+x); } }[name]);
  }
  const { pow: portablePow, hypot: portableHypot } = host.math;
  hide(Math, 'pow', function pow(x, y) {
    x = +x;
    y = +y;
    // Where JavaScript departs from IEEE 754.
    if ((x === 1 || x === -1) && y - y !== 0) return NaN;
    return portablePow(x, y);
  });
  hide(Math, 'hypot', function hypot(...values) {
    let sum = 0, nan = false;
    for (let i = 0; i < values.length; i++) {
      const value = +values[i];
      if (value === Infinity || value === -Infinity) sum = Infinity;
      else if (value !== value) nan = true;
      else if (sum !== Infinity) sum = portableHypot(sum, value);
    }
    return sum !== Infinity && nan ? NaN : sum;
  });
  hide(Math, 'random', function random_() {
    // At load Redux draws names for its private action types; the stream is the same on every node.
    if (running === REDUCER) throw clockError('Math.random()', '`random`');
    return random();
  });

  // Date: in UTC everywhere, and without a clock of its own.
  const DatePrototype = NativeDate.prototype;
  const nativeParse = NativeDate.parse, nativeUTC = NativeDate.UTC;
  // Other formats are read by local time and differ between engines: invalid, as the standard allows.
  function parseDate(text) {
    text = String(text);
    if (matches(/^([+-]\d{6}|\d{4})(-\d\d(-\d\d)?)?T\d\d:\d\d(:\d\d([.,]\d+)?)?$/, text)) return nativeParse(text + 'Z');
    if (matches(/^([+-]\d{6}|\d{4})(-\d\d(-\d\d)?)?(T\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d:?\d\d))?$/, text)
      || matches(/(GMT|UTC|Z)([+-]\d\d:?\d\d)?( \(.*\))?$/, text)) return nativeParse(text);
    return NaN;
  }
  function ConfluxDate(...parts) {
    if (new.target === undefined) return new ConfluxDate(nowFor('Date()')).toString();
    let value;
    if (parts.length === 0) value = nowFor('new Date()');
    else if (parts.length > 1) value = apply(nativeUTC, NativeDate, parts);
    else if (parts[0] instanceof NativeDate) value = apply(DatePrototype_getTime, parts[0], []);
    else {
      const part = typeof parts[0] === 'object' && parts[0] !== null ? apply(toPrimitive, parts[0], []) : parts[0];
      value = typeof part === 'string' ? parseDate(part) : part;
    }
    return construct(NativeDate, [value], new.target);
  }
  const DatePrototype_getTime = DatePrototype.getTime;
  const toPrimitive = function () {
    return typeof this.valueOf() === 'object' ? String(this) : this.valueOf();
  };
  hide(ConfluxDate, 'name', 'Date');
  defineProperty(ConfluxDate, 'length', { value: 7 });
  defineProperty(ConfluxDate, 'prototype', { value: DatePrototype, writable: false });
  hide(ConfluxDate, 'now', function now() { return nowFor('Date.now()'); });
  hide(ConfluxDate, 'parse', function parse(text) { return parseDate(text); });
  hide(ConfluxDate, 'UTC', nativeUTC);
  hide(DatePrototype, 'constructor', ConfluxDate);
  hide(global, 'Date', ConfluxDate);
  for (const part of ['FullYear', 'Month', 'Date', 'Day', 'Hours', 'Minutes', 'Seconds', 'Milliseconds']) {
    hide(DatePrototype, 'get' + part, DatePrototype['getUTC' + part]);
    if (part !== 'Day') hide(DatePrototype, 'set' + part, DatePrototype['setUTC' + part]);
  }
  hide(DatePrototype, 'getTimezoneOffset', function getTimezoneOffset() {
    return this.getTime() === this.getTime() ? 0 : NaN;
  });
  hide(DatePrototype, 'getYear', function getYear() { return this.getUTCFullYear() - 1900; });
  hide(DatePrototype, 'setYear', function setYear(year) {
    year = +year;
    return this.setUTCFullYear(year >= 0 && year <= 99 ? 1900 + Math.trunc(year) : year);
  });
  // "Thu, 01 Jan 1970 00:00:00 GMT" is where the other forms come from.
  const { toUTCString, toISOString } = DatePrototype;
  const words = (date) => apply(toUTCString, date, []).split(' ');
  const valid = (date) => apply(DatePrototype_getTime, date, []) === apply(DatePrototype_getTime, date, []);
  const dateText = (date) => { const w = words(date); return w[0].slice(0, 3) + ' ' + w[2] + ' ' + w[1] + ' ' + w[3]; };
  const timeText = (date) => words(date)[4] + ' GMT+0000 (Coordinated Universal Time)';
  const forms = {
    toString() { return valid(this) ? dateText(this) + ' ' + timeText(this) : 'Invalid Date'; },
    toDateString() { return valid(this) ? dateText(this) : 'Invalid Date'; },
    toTimeString() { return valid(this) ? timeText(this) : 'Invalid Date'; },
    toLocaleString() { return valid(this) ? apply(toISOString, this, []).slice(0, 19).replace('T', ' ') : 'Invalid Date'; },
    toLocaleDateString() { return valid(this) ? apply(toISOString, this, []).split('T')[0] : 'Invalid Date'; },
    toLocaleTimeString() { return valid(this) ? apply(toISOString, this, []).split('T')[1].slice(0, 8) : 'Invalid Date'; },
  };
  for (const name of keys(forms)) hide(DatePrototype, name, forms[name]);

  hide(global, 'performance', {
    now() {
      if (running !== METHOD) throw clockError('performance.now()', '`elapsed`');
      return elapsed;
    },
  });

  // Not there at all, so that libraries which look for them find that out and do without; where they are used all the
  // same, the ReferenceError that comes of it is explained by Rust (absent.rs).
  for (const name of host.absent) delete global[name];

  hide(global, 'structuredClone', function structuredClone(value) {
    const seen = new Map();
    const clone = (value) => {
      if (typeof value === 'function' || typeof value === 'symbol') throw new TypeError('structuredClone cannot copy ' + show(value));
      if (typeof value !== 'object' || value === null) return value;
      const known = seen.get(value);
      if (known !== undefined) return known;
      let copy;
      if (isArray(value)) {
        seen.set(value, copy = []);
        copy.length = value.length;
        for (const name of keys(value)) copy[name] = clone(value[name]);
      } else if (value instanceof NativeDate) {
        seen.set(value, copy = new ConfluxDate(apply(DatePrototype_getTime, value, [])));
      } else if (value instanceof Map) {
        seen.set(value, copy = new Map());
        value.forEach((item, key) => copy.set(clone(key), clone(item)));
      } else if (value instanceof Set) {
        seen.set(value, copy = new Set());
        value.forEach((item) => copy.add(clone(item)));
      } else if (value instanceof RegExp) {
        seen.set(value, copy = new RegExp(value.source, value.flags));
      } else if (value instanceof Error) {
        seen.set(value, copy = new Error(value.message));
        hide(copy, 'name', value.name);
      } else {
        seen.set(value, copy = {});
        for (const name of keys(value)) hideNot(copy, name, clone(value[name]));
      }
      return copy;
    };
    return clone(value);
  });
  const hideNot = (object, name, value) => defineProperty(object, name, { value, writable: true, enumerable: true, configurable: true });

  function show(value) {
    switch (typeof value) {
      case 'string': return stringify(value);
      case 'function': return 'a function';
      case 'symbol': return 'a symbol';
      case 'bigint': return String(value) + 'n';
      case 'object':
        if (value === null) return 'null';
        if (isArray(value)) return 'an array';
        if (value instanceof Error) return 'an Error';
        return 'an object';
      default: return String(value);
    }
  }

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

  // ---- Freezing ---------------------------------------------------------------------------------------------------

  // Assigning to `error.name` or `object.toString` must go on working where the prototype's own is frozen ("the
  // override mistake" of the standard): such properties become accessors whose setter defines on the object itself.
  function allowOverriding(prototype) {
    for (const name of ownKeys(prototype)) {
      const property = getOwnPropertyDescriptor(prototype, name);
      if (!('value' in property) || !property.configurable || typeof name === 'symbol') continue;
      const { value, enumerable } = property;
      defineProperty(prototype, name, {
        get() { return value; },
        set(replacement) {
          if (this === prototype) throw new TypeError('globals are frozen after load; state cannot hide in them');
          if (!defineProperty(this, name, { value: replacement, writable: true, enumerable: true, configurable: true })) {
            throw new TypeError('\'' + String(name) + '\' is read-only');
          }
        },
        enumerable,
        configurable: false,
      });
    }
  }

  function freezeRealm() {
    allowOverriding(ObjectPrototype);
    allowOverriding(Function.prototype);
    for (const kind of [
      Error, TypeError, ReferenceError, SyntaxError, RangeError, EvalError, URIError, InternalError, global.AggregateError,
    ]) {
      if (kind !== undefined) allowOverriding(kind.prototype);
    }
    const seen = own(new Set(), Set.prototype, 'has', 'add');
    const rest = [];
    const visit = (value) => {
      if ((typeof value === 'object' || typeof value === 'function') && value !== null && !seen.has(value)) {
        seen.add(value);
        rest[rest.length] = value;
      }
    };
    visit(global);
    // Reached by syntax only, through no global.
    visit(getPrototypeOf(function* () {}));
    visit(getPrototypeOf(async function () {}));
    visit(getPrototypeOf(async function* () {}));
    visit(getPrototypeOf([][Symbol.iterator]()));
    visit(getPrototypeOf(''[Symbol.iterator]()));
    visit(getPrototypeOf(new Map()[Symbol.iterator]()));
    visit(getPrototypeOf(new Set()[Symbol.iterator]()));
    visit(getPrototypeOf(''.matchAll(/a/g)));
    visit(getPrototypeOf(Uint8Array));
    while (rest.length > 0) {
      const object = rest[rest.length - 1];
      rest.length--;
      visit(getPrototypeOf(object));
      for (const name of ownKeys(object)) {
        const property = getOwnPropertyDescriptor(object, name);
        if (property === undefined) continue;
        visit(property.value);
        visit(property.get);
        visit(property.set);
      }
      try {
        freeze(object);
      } catch {
        // A typed array with elements cannot be frozen.
        preventExtensions(object);
      }
    }
  }

  return { decide, keep, reduceAll, write, read, release, holds, adopt, run, progress: () => decided * 4 + running };
})
