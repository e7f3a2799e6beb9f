//! Files that do not load.

mod common;

use std::fs;

use conflux_script::{Options, ScriptContainer, ScriptError};

/// A good end for a script that breaks elsewhere.
const REST: &str =
    "export const initialState = 0\nexport const methods = { go: () => 1 }\nexport const reduce = (s) => s\n";

fn error(text: &str) -> ScriptError {
    ScriptContainer::from_source("bad.js", text).err().unwrap_or_else(|| panic!("it loaded: {text}"))
}

#[test]
fn every_error_names_the_file_and_says_what_to_do() {
    for (text, start, part) in [
        ("export const a = ;", "bad.js:1: it does not parse: ", ""),
        ("var a = 1\nvar b = {", "bad.js:", "it does not parse: "),
        ("module.exports = {}\nreturn with (x) {}", "bad.js:2: it does not parse", ""),
        ("\n\nthrow new Error('at once')", "bad.js:3: threw while it loaded: Error: at once", ""),
        ("export default 1\n\nnull.x", "bad.js:3: threw while it loaded: TypeError", ""),
        ("throw 7", "bad.js: threw 7 while it loaded, which is no Error", "throw an Error"),
        (
            "setTimeout(() => {}, 1)",
            "bad.js:1: threw while it loaded: ReferenceError: setTimeout is not defined",
            "synchronous",
        ),
        (
            "const t = Date.now()",
            "bad.js:1: threw while it loaded: TypeError: Date.now() in code that runs at load",
            "",
        ),
        ("import _ from 'lodash'\n", "bad.js", "npx esbuild bad.js --bundle --format=esm --outfile=bad.bundle.js"),
        ("const _ = require('lodash')", "bad.js:1: cannot import \"lodash\"", "npx esbuild"),
        ("import x from './x.ts'\n", "bad.js", "it is TypeScript"),
        ("import x from './nothing.js'\n", "bad.js", "there is no file nothing.js"),
        ("import { x } from './bad.js'\n", "bad.js", "x"),
        ("await 1\nexport const x = 1", "bad.js: it awaits at its top level", ""),
        (
            "export const initialState = 0; export const reduce = s => s",
            "bad.js: there is no \"methods\"",
            "export const methods",
        ),
        (
            "export const initialState = 0; export const methods = { a() {} }",
            "bad.js: there is no \"reduce\"",
            "export function reduce",
        ),
        (
            "",
            "bad.js: there is no \"methods\"",
            "export const initialState = ..., export const methods = { ... } and export function",
        ),
        ("// nothing", "bad.js: there is no \"methods\"", "or, in CommonJS, module.exports = { methods, reduce }"),
        (
            "export const methods = { 'with space': () => 1 }; export const reduce = s => s",
            "bad.js: the method \"with space\" has a name that cannot be called everywhere",
            "letters, digits, _, $, - and .",
        ),
        (
            "export const methods = { ':state': () => 1 }; export const reduce = s => s",
            "bad.js: the method \":state\"",
            "",
        ),
        ("export const methods = { '#x': () => 1 }; export const reduce = s => s", "bad.js: the method \"#x\"", ""),
        ("module.exports = { methods: { '@b': () => 1 } }", "bad.js: the method \"@b\"", ""),
        ("export const methods = { '': () => 1 }; export const reduce = s => s", "bad.js: the method \"\"", ""),
        ("export const methods = {}; export const reduce = s => s", "bad.js: \"methods\" is empty", ""),
        (
            "export const methods = { a: 1 }; export const reduce = s => s",
            "bad.js: methods.a is 1, but must be a function",
            "",
        ),
        ("export const methods = []; export const reduce = s => s", "bad.js: \"methods\" is an array", ""),
        ("export const methods = { a() {} }; export const reduce = 5", "bad.js: \"reduce\" is 5", ""),
        ("export const methods = { a() {} }; export const reduce = s => s", "bad.js: there is no \"initialState\"", ""),
        (
            "export const initialState = { when: new Date(0) }; export const methods = { a() {} }; export const reduce = s => s",
            "bad.js: the initial state holds a Date",
            "state.when",
        ),
        (
            "export const invariant = 1; export const initialState = 0; export const methods = { a() {} }; export const reduce = s => s",
            "bad.js: \"invariant\" is 1",
            "",
        ),
        ("module.exports = 3", "bad.js: module.exports is 3", "module.exports = { methods, reduce }"),
        ("module.exports = { methods: { a: function () {} } }", "bad.js: there is no \"reduce\"", "module.exports = "),
        (
            "module.exports = { methods: { a: function () {} }, reduce: function () {} }",
            "bad.js: reduce(undefined, null) gave undefined",
            "",
        ),
        (
            "module.exports = { methods: { a: function () {} }, reduce: function (s, a) { return a.b.c } }",
            "bad.js: reduce(undefined, { type: \"@@conflux/INIT\" }) threw TypeError",
            "",
        ),
    ] {
        let said = error(text).to_string();
        assert!(said.starts_with(start), "{text}\n{said}");
        assert!(said.contains(part), "{text}\n{said}");
    }
    assert!(matches!(error("export const a = ;"), ScriptError::Syntax { .. }));
    assert!(matches!(error("throw new Error('x')"), ScriptError::Threw { .. }));
    assert!(matches!(error("import _ from 'lodash'\n"), ScriptError::Unsupported { .. }));
    assert!(matches!(error(""), ScriptError::Shape { .. }));
}

#[test]
fn files_on_disk() {
    let directory = std::env::temp_dir().join(format!("conflux-script-{}", std::process::id()));
    fs::create_dir_all(directory.join("app/lib")).unwrap();
    let write = |name: &str, text: &[u8]| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let said = |path: &std::path::Path| ScriptContainer::load(path).err().unwrap().to_string();
    let shown = |path: &std::path::Path| path.display().to_string();

    let missing = directory.join("missing.js");
    assert_eq!(said(&missing), format!("{}: there is no such file", shown(&missing)));
    assert!(said(&directory).contains("it is a directory"));
    assert!(said(&write("bytes.js", b"\xff\xfe")).contains("it is not UTF-8"));
    assert!(said(&write("zero.js", b"a\0b")).contains("byte 0"));
    let typed = write("app.ts", b"const a: number = 1");
    assert!(said(&typed).ends_with(
        "it is TypeScript; make JavaScript of it with: npx esbuild app.ts --bundle --format=esm --outfile=app.bundle.js"
    ));
    let broken = write("broken.js", b"\n\nlet let = 1");
    assert!(said(&broken).starts_with(&format!("{}:3: it does not parse", shown(&broken))), "{}", said(&broken));

    write("secret.js", b"export const x = 1");
    let outside = write("app/outside.js", format!("import {{ x }} from '../secret.js'\n{REST}").as_bytes());
    assert!(said(&outside).contains("it lies outside the directory of the script"), "{}", said(&outside));
    std::os::unix::fs::symlink(directory.join("secret.js"), directory.join("app/link.js")).unwrap();
    let linked = write("app/linked.js", format!("import {{ x }} from './link.js'\n{REST}").as_bytes());
    assert!(said(&linked).contains("there is no file link.js"), "{}", said(&linked));

    // A mistake in an imported file is told there.
    write("app/lib/inner.js", b"export const x = 1\nthrow new Error('inner')\n");
    let outer = write("app/outer.js", format!("import {{ x }} from './lib/inner.js'\n{REST}").as_bytes());
    assert_eq!(
        said(&outer),
        format!("{}: threw while it loaded: Error: inner", shown(&directory.join("app/lib/inner.js:2")))
    );

    // What is loaded counts for the code's digest, and the place of the directory does not.
    use conflux_core::Container;
    write("app/lib/inner.js", b"\xef\xbb\xbf#!/usr/bin/env node\nexport const x = 1\n");
    let one = ScriptContainer::load(&outer).unwrap();
    assert_eq!(one.files(), ["lib/inner.js", "outer.js"]);
    fs::rename(directory.join("app"), directory.join("elsewhere")).unwrap();
    let moved = ScriptContainer::load(directory.join("elsewhere/outer.js")).unwrap();
    assert_eq!(one.code(), moved.code());
    fs::write(directory.join("elsewhere/lib/inner.js"), "export const x = 2\n").unwrap();
    assert_ne!(one.code(), ScriptContainer::load(directory.join("elsewhere/outer.js")).unwrap().code());
    assert_eq!(one.code(), one.another().unwrap().code());
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn the_script_in_another_form_of_file() {
    for (name, text) in [
        ("a.mjs", REST.to_owned()),
        ("a.cjs", "exports.methods = { go() {} }; exports.reduce = (s = 0) => s".into()),
        ("a.js", "// the word export alone does not make a module of it\nexports.methods = { go() {} }; exports.reduce = (s = 0) => s // end".into()),
        ("a.js", "const x=1;const i=0;const m={go(){}},r=s=>s;export{i as initialState,m as methods,r as reduce};".into()),
        ("a.js", "export const methods = { go() {} }; export const reduce = (s = 5) => s".into()),
        ("a.js", "const reduce = (s = 0, a) => s; export default { methods: { go() {} }, reduce, initialState: 1 }".into()),
    ] {
        ScriptContainer::from_sources(name, [(name, text.as_str())], Options::default()).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}
