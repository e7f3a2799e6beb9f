// Globals, frozen after load, so that state cannot hide in them.

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
