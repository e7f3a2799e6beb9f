// CommonJS modules.

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
