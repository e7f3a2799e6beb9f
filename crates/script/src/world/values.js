// JSON values: checked, frozen, and refused where they hold what JSON cannot.

// Values nest at most this deep: serde_json, which shows them to people and programs, stops at 128.
const DEPTH_MAX = 100;

// Objects that are known to be frozen JSON all the way down, with how deep they nest.
const checked = own(new WeakMap(), WeakMap.prototype, 'get', 'set');

// Thrown by the fast walks; the slow walk then finds out where and what. Not an Error: it has no stack to pay for.
const NOT_JSON = freeze({});
let height = 0;
// Whether there may be getters, or properties that do not show: every property is looked at closely then.
let thorough = false;

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
    lookAtList(value);
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

// What JSON does not show of an object. Only a property that a program defines can be so: see below.
function lookClosely(value) {
  const names = ownKeys(value);
  for (let i = 0; i < names.length; i++) {
    const property = getOwnPropertyDescriptor(value, names[i]);
    if (!('value' in property) || !property.enumerable) throw NOT_JSON;
  }
}

// The same of a list, which may have properties besides its items (`match` makes such).
function lookAtList(list) {
  const { length } = list;
  if (ownKeys(list).length !== length + 1) throw NOT_JSON;
  if (!thorough) return;
  for (let i = 0; i < length; i++) {
    const property = getOwnPropertyDescriptor(list, i);
    if (property === undefined || !('value' in property) || !property.enumerable) throw NOT_JSON;
  }
}

// A program's text is searched for getters (accessors.rs); these make them, too.
for (const [owner, name] of [
  [Object, 'defineProperty'], [Object, 'defineProperties'], [Object, 'create'], [Reflect, 'defineProperty'],
  [ObjectPrototype, '__defineGetter__'], [ObjectPrototype, '__defineSetter__'],
]) {
  const native = owner[name];
  const defining = { [name](...parts) {
    if (name !== 'create' || parts[1] !== undefined) thorough = true;
    return apply(native, this, parts);
  } }[name];
  defineProperty(defining, 'length', { value: native.length });
  hide(owner, name, defining);
}

const COMMA = [','];
// Names that were found well-formed: the same few come again and again.
const fine = { __proto__: null };
let fineCount = 0;
function checkNames(names) {
  // Many are checked at once, joined by what is no surrogate.
  if (names.length > 16) {
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
    if (fine[name] === true) continue;
    if (typeof name === 'symbol' || !name.isWellFormed()) throw NOT_JSON;
    if (fineCount < 1000) {
      fine[name] = true;
      fineCount++;
    }
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
    lookAtList(value);
    const length = value.length;
    let i = 0;
    // A list of short strings is joined and checked at once; what joins them is no surrogate. Long ones would be copied
    // for nothing, and the copy counts as memory of the call.
    if (length > 8 && length <= 4096) {
      let item;
      while (i < length && typeof (item = value[i]) === 'string' && item.length <= 64) i++;
    }
    if (i > 8 && i === length) {
      if (!apply(ArrayPrototype_join, value, COMMA).isWellFormed()) throw NOT_JSON;
    } else i = 0;
    for (; i < length; i++) {
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
      } else if (typeof item === 'number' && item > 0 && item - item === 0) continue;
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
      } else if (typeof item === 'number' && item > 0 && item - item === 0) continue;
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
  height = high + 1;
  // A whole state is hardly ever a part of the next one; entering it costs as much as a small reducer.
  if (depth > 0) checked.set(value, height);
  return value;
}
const Object_isFrozen = Object.isFrozen;
const ArrayPrototype_slice = ArrayPrototype.slice;
