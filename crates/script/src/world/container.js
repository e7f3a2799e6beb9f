// The container: what the script exports.

// Takes what the script exports; gives [error] or the names of the methods.
function adopt(exports, isPlain, slot, mayHaveAccessors) {
  if (mayHaveAccessors) thorough = true;
  const problem = (message) => ({ problem: message });
  plain = isPlain;
  // Nothing is exported: nothing says which form is meant.
  const isBare = isPlain && typeof exports === 'object' && exports !== null && keys(exports).length === 0;
  const how = isBare
    ? 'export const initialState = ..., export const methods = { ... } and export function reduce(state, action) { ... }; or, '
      + 'in CommonJS, module.exports = { methods, reduce }'
    : isPlain ? 'module.exports = { methods, reduce }' : 'export const methods = { ... }';
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
    // In a line, `with space` would be two words, `:state` a command, `#x` a comment and `@b` a node.
    if (!matches(/^[\p{L}_$][\p{L}\p{N}_$.-]*$/u, name)) {
      return problem(
        'the method ' + stringify(name) + ' has a name that cannot be called everywhere: it begins with a letter, _ or $, and '
        + 'has only letters, digits, _, $, - and . in it',
      );
    }
    if (typeof table[name] !== 'function') {
      return problem('methods.' + name + ' is ' + show(table[name]) + ', but must be a function');
    }
    methods[i] = table[name];
    names[i] = name;
    places[name] = place(table[name]);
    lengths[i] = lengthOf(table[name]);
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
  if (source.sample !== undefined) {
    if (typeof source.sample !== 'function') {
      return problem('"sample" is ' + show(source.sample) + ', but must be a function');
    }
    sampler = source.sample;
    samplerPlace = place(sampler);
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
  return { names, places: placesInOrder(), lengths, reducerPlace, sampler: sampler !== null, samplerPlace,
    invariant: invariant !== null, invariantPlace: invariant === null ? undefined : place(invariant) };
}

// How many arguments a method says that it takes; the first one of an ES module's is the context.
function lengthOf(method) {
  let length;
  try {
    length = method.length;
  } catch {
    return 0;
  }
  if (typeof length !== 'number' || !(length > 0)) return 0;
  length = length > 8 ? 8 : length | 0;
  return plain || length === 0 ? length : length - 1;
}

function placesInOrder() {
  const list = [];
  for (let i = 0; i < names.length; i++) list[i] = places[names[i]];
  return list;
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
