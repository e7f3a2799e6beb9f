// structuredClone.

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
