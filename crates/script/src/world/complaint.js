// What JSON cannot hold, and where: the slow walk, for messages.

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
