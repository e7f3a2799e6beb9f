//! Limits: they bind on the leader only, and the heap goes on afterwards.

mod common;

use std::time::Duration;

use common::{action, batch, call, decide, failure, go, script, script_with};
use conflux_core::{Container, Decision, Payload};
use conflux_script::{Action, Options, ScriptContainer};
use serde_json::json;

fn tight() -> Options {
    Options { method_time: Duration::from_millis(100), memory_bytes: 16 << 20, ..Options::default() }
}

#[test]
fn an_endless_method_is_stopped_and_the_rest_goes_on() {
    let container = script_with(
        "(_, n) => {\n  if (n === 2) { try {\n    for (;;) {} } catch {} finally {} }\n  return n }",
        "(s, a) => ({ n: s.n + a })",
        tight(),
    );
    let mut state = container.initial();
    let calls = |from: i32| (from..=3).map(|n| call(&container, "go", &json!([n]))).collect();
    let decided = container.decide_batch(&mut state, &batch(0), calls(1));
    // It stops early: what waits behind the heap has waited enough.
    assert_eq!(decided.decisions.len(), 2);
    assert!(!decided.damaged);
    let Decision::Failed(failure) = &decided.decisions[1] else { panic!("{:?}", decided.decisions[1]) };
    assert_eq!(failure.message, "go ran longer than 100ms and was stopped");
    // An empty loop has no line of its own: that of the statement before is told.
    assert_eq!(failure.at.as_deref(), Some("t.js:4"));
    let decided = container.decide_batch(&mut state, &batch(1), calls(3));
    assert_eq!(decided.decisions.len(), 1);
    assert_eq!(&*state.json().unwrap(), r#"{"n":4}"#);
}

#[test]
fn an_endless_reducer_is_stopped_on_the_leader() {
    let container = script_with("() => 1", "(s, a) => { while (true) {} }", tight());
    let failure = failure(go(&container));
    assert_eq!(failure.message, "reduce, for the action of go, ran longer than 100ms and was stopped");
    assert_eq!(failure.at.as_deref(), Some("t.js:5"));
}

/// How many rounds just fit is the same each time, whatever else the machine does.
#[test]
fn where_steps_are_counted_a_call_is_stopped_at_the_same_step() {
    let text = "(_, n) => { for (let i = 0; i < n; i++) {} return 1 }";
    let options = Options { method_time: Duration::from_millis(100), count_steps: true, ..tight() };
    let ends = |rounds: u64| {
        let container = script_with(text, "(s, a) => ({ n: s.n + a })", options.clone());
        let mut state = container.initial();
        let calls = vec![call(&container, "go", &json!([rounds]))];
        let mut decided = container.decide_batch(&mut state, &batch(0), calls);
        matches!(decided.decisions.pop(), Some(Decision::Action(_)))
    };
    let (mut fits, mut does_not) = (0, 1 << 28);
    assert!(!ends(does_not), "some number is too many");
    while does_not - fits > 1000 {
        let rounds = fits.midpoint(does_not);
        if ends(rounds) { fits = rounds } else { does_not = rounds }
    }
    assert!((0..5).all(|_| ends(fits) && !ends(does_not)), "{fits} to {does_not}");
    let container = script_with("() => { for (;;) {} }", "(s, a) => s", options.clone());
    let failure = failure(go(&container));
    assert!(conflux_script::went_over_a_limit(&failure), "{failure}");
}

#[test]
fn every_call_has_the_whole_time() {
    // Each takes more than half of the limit.
    let text =
        "() => { const until = performance.now(); let x = 0; for (let i = 0; i < 600000; i++) x += i; return 1 }";
    let container =
        script_with(text, "(s, a) => ({ n: s.n + a })", Options { method_time: Duration::from_millis(400), ..tight() });
    let mut state = container.initial();
    let mut left = 30;
    while left > 0 {
        let calls = (0..left).map(|_| call(&container, "go", &json!([]))).collect();
        let decided = container.decide_batch(&mut state, &batch(0), calls);
        for decision in &decided.decisions {
            assert!(matches!(decision, Decision::Action(_)), "{decision:?}");
        }
        left -= decided.decisions.len();
    }
    assert_eq!(&*state.json().unwrap(), r#"{"n":30}"#);
}

#[test]
fn a_method_that_eats_memory_is_stopped_and_the_heap_goes_on() {
    for hog in [
        "const a = []; for (;;) a.push([1, 2, 3])",
        "let s = 'x'; for (;;) s += s",
        "const m = new Map(); for (let i = 0; ; i++) m.set(i, { i })",
        "return 'x'.repeat(1 << 29)",
        "return new ArrayBuffer(1 << 29) && 1",
    ] {
        let options = Options { method_time: Duration::from_secs(20), ..tight() };
        let container = script_with(
            &format!("(_, n) => {{ if (n === 2) {{ {hog} }} return n }}"),
            "(s, a) => ({ n: s.n + a })",
            options,
        );
        let mut state = container.initial();
        let calls = (1..=3).map(|n| call(&container, "go", &json!([n]))).collect();
        let decided = container.decide_batch(&mut state, &batch(0), calls);
        assert_eq!(decided.decisions.len(), 3, "{hog}");
        let Decision::Failed(failure) = &decided.decisions[1] else { panic!("{hog}: {:?}", decided.decisions[1]) };
        assert!(
            failure.message.contains("needed more than 16 MiB of memory")
                || failure.message.contains("string too long"),
            "{hog}: {failure}"
        );
        let is_limit = failure.message.contains("of memory");
        assert_eq!(conflux_script::went_over_a_limit(failure), is_limit, "{hog}: {failure}");
        assert_eq!(&*state.json().unwrap(), r#"{"n":4}"#, "{hog}");
    }
}

#[test]
fn a_state_larger_than_the_limit_is_no_reason_to_stop() {
    // Grows by 3 MiB a call to 60; the limit of 16 is what a batch may add.
    let container =
        script_with("() => 1", "s => ({ n: s.n + 1, list: [...(s.list ?? []), 'x'.repeat(3 << 20)] })", tight());
    let mut state = container.initial();
    for _ in 0..20 {
        action(decide(&container, &mut state, "go", &json!([])));
    }
    assert!(state.json().unwrap().len() > 60 << 20);
}

#[test]
fn applying_has_no_limits() {
    let container = script_with(
        "(_, n) => n",
        "(s, a) => { const l = []; for (let i = 0; i < a; i++) l.push([i]); return { n: l.length } }",
        Options { method_time: Duration::from_millis(1), ..tight() },
    );
    let mut state = container.initial();
    let said = decide(&container, &mut state, "go", &json!([1_000_000]));
    assert!(matches!(said, Decision::Failed(_)));
    common::apply(&container, &mut state, &[Action::decode(b"1000000").unwrap()], 0).unwrap();
    assert_eq!(&*state.json().unwrap(), r#"{"n":1000000}"#);
}

#[test]
fn deep_recursion_fails_also_on_a_small_stack() {
    let run = || {
        for (go_text, reduce) in [
            ("() => { const f = (n) => f(n + 1) + 1; return f(0) }", "s => s"),
            ("() => 1", "s => { const f = (n) => f(n + 1) + 1; return f(0) }"),
            ("() => { let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return JSON.stringify(a) }", "s => s"),
            ("() => JSON.parse('['.repeat(1e5))", "s => s"),
            (
                "() => [1].flat(Infinity).concat(/(?:(a))*/.exec('a'.repeat(1e5)) && [].map.call([1], function g() { return [1].map(g) }))",
                "s => s",
            ),
            ("() => { const f = () => new Proxy({}, { get: (t, k, r) => r[k] }).x; return f() }", "s => s"),
        ] {
            let container = script(go_text, reduce);
            let failure = failure(go(&container));
            assert!(
                failure.message.contains("Maximum call stack size exceeded") || failure.message.contains("stack"),
                "{go_text}: {failure}"
            );
            let mut state = container.initial();
            assert!(conflux_core::Container::restore(&container, &mut &b"{\"n\":5}"[..]).is_ok());
            drop(decide(&container, &mut state, "go", &json!([])));
        }
        // Too deep for JSON, with no recursion in the script.
        let container = script("() => { let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return a }", "s => s");
        assert!(failure(go(&container)).message.contains("nested more than 100 deep"));
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn large_actions_are_refused() {
    let container = script("(_, n) => 'x'.repeat(n)", "s => s");
    let mut state = container.initial();
    assert!(matches!(decide(&container, &mut state, "go", &json!([1000])), Decision::Action(_)));
    let failure = failure(decide(&container, &mut state, "go", &json!([2_000_000])));
    assert_eq!(failure.message, "go returned an action of 2000002 characters of JSON; at most 1048576 are allowed");
}

#[test]
fn what_is_too_large_is_never_reduced_and_what_is_said_is_bounded() {
    let container = script(
        "({ reject }, kind) => { const text = 'x'.repeat(2e6); if (kind === 1) reject(text); \
        if (kind === 2) throw new TypeError(text); if (kind === 3) reject('no', { text }); return text }",
        "(s, a) => ({ n: s.n + 1 })",
    );
    let mut state = container.initial();
    for kind in 0..4 {
        let failure = failure(decide(&container, &mut state, "go", &json!([kind])));
        assert!(failure.message.len() < 5000, "{kind}");
    }
    assert_eq!(state, container.initial());
}

#[test]
fn catastrophic_patterns_are_stopped() {
    let container = script_with("() => /^(a+)+$/.test('a'.repeat(40) + 'b') ? 1 : 2", "s => s", tight());
    let failure = failure(go(&container));
    assert!(failure.message.contains("ran longer than"), "{failure}");
}

#[test]
fn a_slow_load_is_stopped() {
    let options = Options { load_time: Duration::from_millis(100), memory_bytes: 16 << 20, ..Options::default() };
    let load = |text: &str| {
        ScriptContainer::from_sources("x.js", [("x.js", text)], options.clone()).err().unwrap().to_string()
    };
    assert_eq!(load("for (;;) {}"), "x.js:1: it did not finish loading within 100ms: an endless loop?");
    // Where there is no memory for an error either, the line is not known.
    let options = Options { load_time: Duration::from_secs(20), ..options.clone() };
    let text = "\n\nexport const a = []; for (;;) a.push([1])";
    let error = ScriptContainer::from_sources("x.js", [("x.js", text)], options).err().unwrap().to_string();
    assert!(error.starts_with("x.js") && error.ends_with(": it needed more than 16 MiB of memory to load"), "{error}");
    let error = load("module.exports = { methods: { a() {} }, reduce() { for (;;) {} } }");
    assert_eq!(error, "x.js:1: it did not finish loading within 100ms: an endless loop?");
    let error = load("const f = () => f() + 1; f()");
    assert!(error.contains("Maximum call stack size exceeded"), "{error}");
}

/// Limits that differ from those of `tight` in the time only: memory and stack are to be hit first.
fn patient() -> Options {
    Options { method_time: Duration::from_secs(20), ..tight() }
}

#[test]
fn catching_a_limit_does_not_help() {
    let deep = "const f = (n) => n === 0 ? 0 : f(n - 1) + 1;";
    let hog = "const a = []; for (;;) a.push(new Array(1000).fill(0));";
    let stack = "recursed deeper than its 512 KiB of stack";
    let memory = "needed more than 16 MiB of memory and was stopped";
    for (code, said) in [
        (format!("{deep} try {{ f(1e5) }} catch {{}}"), stack),
        (format!("{deep} new Promise(() => f(1e5))"), stack),
        (format!("{deep} (async () => f(1e5))()"), stack),
        (format!("{deep} try {{ [1].map(function g() {{ return [1].map(g) }}) }} finally {{ return s }}"), stack),
        (format!("{deep} try {{ JSON.parse('['.repeat(1e5)) }} catch {{}}"), stack),
        (format!("{deep} try {{ new RegExp('(?:'.repeat(1e5)) }} catch {{}}"), stack),
        // The stack of an error is written with what is left of the stack.
        ("const f = (n) => { try { f(n + 1) } catch { new Error() } }; f(0)".into(), stack),
        (format!("try {{ {hog} }} catch {{}}"), memory),
        (format!("try {{ {hog} }} finally {{ return s }}"), memory),
        (format!("new Promise(() => {{ {hog} }})"), memory),
        ("try { 'x'.repeat(1 << 28) } catch {}".into(), memory),
        ("try { new ArrayBuffer(1 << 28) } catch {}".into(), memory),
        ("for (let i = 0, m = new Map(); i < 1e6; i++) try { m.set(i, { i }) } catch { break }".into(), memory),
    ] {
        for (who, container) in [
            (
                "reduce, for the action of go,",
                script_with("() => 1", &format!("(s, a) => {{ {code}; return {{ n: s.n + 1 }} }}"), patient()),
            ),
            ("go", script_with(&format!("({{ state: s }}) => {{ {code}; return 1 }}"), "s => s", patient())),
        ] {
            let mut state = container.initial();
            let Decision::Failed(failed) = go(&container) else { panic!("{who} {code}") };
            assert!(failed.message.contains(said), "{who} {code}: {failed}");
            assert!(failed.message.starts_with("go") || failed.message.starts_with(who), "{who} {code}: {failed}");
            assert!(failed.at.as_deref().is_some_and(|at| at.starts_with("t.js:")), "{who} {code}: {failed}");
            // Also among others, of which each is decided as if it were alone.
            let calls = (0..3).map(|_| call(&container, "go", &json!([]))).collect();
            let decided = container.decide_batch(&mut state, &batch(0), calls);
            assert!(!decided.decisions.is_empty());
            for decision in decided.decisions {
                assert!(failure(decision).message.contains(said), "{who} {code}");
            }
            assert_eq!(state, container.initial());
        }
    }
}

#[test]
fn the_innocent_are_decided_where_another_caught_a_limit() {
    let container = script_with(
        "(_, n) => n",
        "(s, a) => { const f = (n) => n === 0 ? 0 : f(n - 1) + 1; let n = s.n + a; try { f(a === 7 ? 1e5 : 10) } catch { n = -1 } return { n } }",
        patient(),
    );
    let mut state = container.initial();
    let calls = (1..=12).map(|n| call(&container, "go", &json!([n]))).collect();
    let decided = container.decide_batch(&mut state, &batch(0), calls);
    assert_eq!(decided.decisions.len(), 12);
    for (n, decision) in (1..).zip(decided.decisions) {
        match decision {
            Decision::Failed(failure) => {
                assert_eq!(n, 7);
                assert!(failure.message.starts_with("reduce, for the action of go, recursed deeper"), "{failure}");
            }
            decision => assert_eq!(action(decision), n.to_string()),
        }
    }
    assert_eq!(&*state.json().unwrap(), r#"{"n":71}"#);
}

#[test]
fn what_fits_on_the_leader_fits_where_it_is_applied() {
    // As deep as it gets without a failure, on a thread with little stack left: applying has twice as much.
    let container = script(
        "(_, n) => n",
        "(s, a) => { const f = (n) => n === 0 ? 0 : f(n - 1) + 1; let n; try { n = f(a) } catch { n = 'too deep' } return { n } }",
    );
    let mut state = container.initial();
    let (mut fits, mut fails) = (0, 100_000);
    while fails - fits > 1 {
        let depth = (fits + fails) / 2;
        match decide(&container, &mut state, "go", &json!([depth])) {
            Decision::Action(_) => fits = depth,
            _ => fails = depth,
        }
    }
    assert!(fits > 100, "{fits}");
    let action = Action::decode(fits.to_string().as_bytes()).unwrap();
    common::apply(&container, &mut state, &[action], 0).unwrap();
    assert_eq!(&*state.json().unwrap(), format!(r#"{{"n":{fits}}}"#));
    // Where it does end all the same, the node stops instead of going another way.
    let action = Action::decode(b"100000").unwrap();
    let failed = common::apply(&container, &mut state, &[action], 1).unwrap_err();
    assert!(failed.message.contains("reduce recursed deeper than 1024 KiB of stack"), "{failed}");
}

#[test]
fn errors_made_on_the_way_down_do_not_move_the_limit_of_the_stack() {
    for code in [
        "const f = () => { new Error(); return f() + 1 }; f()",
        "const f = () => { try { throw new TypeError() } catch { f() } }; f()",
        "const f = () => { try { null.x } catch { f() } }; f()",
        "const f = () => { console.log('x'); new Error(); f() }; f()",
    ] {
        let container = script_with(&format!("() => {{ {code} }}"), "s => s", patient());
        let failed = failure(go(&container));
        assert!(failed.message.contains("recursed"), "{code}: {failed}");
        let container = script_with("() => 1", &format!("s => {{ {code} }}"), patient());
        assert!(failure(go(&container)).message.contains("recursed"), "{code}");
        let action = Action::decode(b"1").unwrap();
        let failed = common::apply(&container, &mut container.initial(), &[action], 0).unwrap_err();
        assert!(failed.message.contains("deeper than 1024 KiB"), "{code}: {failed}");
    }
}

#[test]
fn who_looks_at_an_error_runs_no_code_of_the_script() {
    // Its errors would not be heard of.
    let container = script_with(
        "() => 1",
        "s => { let n = 0; const f = () => f() + 1; class E extends Error { get message() { try { f() } catch { n++ } } } try { throw new E() } catch {} return { n } }",
        patient(),
    );
    let mut state = container.initial();
    decide(&container, &mut state, "go", &json!([]));
    assert_eq!(&*state.json().unwrap(), r#"{"n":0}"#);
}

#[test]
fn a_reducer_has_no_more_stack_behind_a_method_that_made_errors() {
    let container = script_with(
        "(_, errors, depth) => { const f = (n) => { new Error(); return n === 0 ? 0 : f(n - 1) + 1 }; f(errors); return depth }",
        "(s, a) => { const f = (n) => n === 0 ? 0 : f(n - 1) + 1; return { n: f(a) } }",
        patient(),
    );
    let deepest = |fits: &dyn Fn(u32) -> bool| {
        let (mut good, mut bad) = (0, 100_000);
        while bad - good > 1 {
            let depth = (good + bad) / 2;
            if fits(depth) { good = depth } else { bad = depth }
        }
        good
    };
    let fits = |errors: u32, depth: u32| {
        let decided = decide(&container, &mut container.initial(), "go", &json!([errors, depth]));
        matches!(decided, Decision::Action(_))
    };
    let errors = deepest(&|errors| fits(errors, 0));
    assert!(errors > 100, "{errors}");
    assert_eq!(deepest(&|depth| fits(errors, depth)), deepest(&|depth| fits(0, depth)));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the limit is one of real time")]
fn a_batch_of_loops_takes_one_limit_and_names_each() {
    let limit = Duration::from_millis(200);
    for check in [false, true] {
        let options = Options { method_time: limit, check, ..Options::default() };
        let container = script_with(
            "(_, n) => {\n  if (n % 3 === 0) for (;;) { n + 1 }\n  return n }",
            "(s, a) => {\n  if (a % 4 === 0) for (;;) { a + 1 }\n  return { n: s.n + a } }",
            options,
        );
        let mut state = container.initial();
        let mut left: Vec<i32> = (1..=9).collect();
        let mut base = 0;
        while !left.is_empty() {
            let calls = left.iter().map(|n| call(&container, "go", &json!([n]))).collect();
            let started = std::time::Instant::now();
            let decided = container.decide_batch(&mut state, &batch(base), calls);
            let took = started.elapsed();
            // Where other programs are busy, too, a limit by the clock is soon over.
            assert!(took < limit * 5, "{took:?}");
            let failed = decided.decisions.iter().filter(|decision| matches!(decision, Decision::Failed(_))).count();
            assert!(failed <= 1, "a batch stops behind the first");
            let done: Vec<i32> = left.drain(..decided.decisions.len()).collect();
            assert!(!done.is_empty());
            for (n, decision) in done.into_iter().zip(decided.decisions) {
                match decision {
                    Decision::Failed(failed) if n % 3 == 0 => {
                        assert_eq!(failed.message, "go ran longer than 200ms and was stopped");
                        assert_eq!(failed.at.as_deref(), Some("t.js:4"), "{n}");
                    }
                    Decision::Failed(failed) if n % 4 == 0 => {
                        assert_eq!(
                            failed.message,
                            "reduce, for the action of go, ran longer than 200ms and was stopped"
                        );
                        assert_eq!(failed.at.as_deref(), Some("t.js:8"), "{n}");
                    }
                    decision => {
                        assert_eq!(action(decision), n.to_string());
                        base += 1;
                    }
                }
            }
        }
        assert_eq!(&*state.json().unwrap(), r#"{"n":15}"#);
        assert!(container.reports().is_empty());
    }
}

#[test]
fn a_loop_that_a_promise_swallows_fails_too() {
    let container =
        script_with("() => 1", "(s) => { new Promise(() => { for (;;) {} }); return { n: s.n + 1 } }", tight());
    let mut state = container.initial();
    let calls = (0..2).map(|_| call(&container, "go", &json!([]))).collect();
    let decided = container.decide_batch(&mut state, &batch(0), calls);
    for decision in decided.decisions {
        assert!(failure(decision).message.contains("ran longer than 100ms"));
    }
    assert_eq!(state, container.initial());
}

#[test]
fn null_is_told_apart_from_a_lack_of_memory() {
    let failed = failure(go(&script("() => { throw null }", "s => s")));
    assert_eq!(failed.message, "go threw null, which is no Error; throw an Error instead");
    let failed = failure(go(&script("() => 1", "s => { throw null }")));
    assert_eq!(failed.message, "reduce: threw null, which is no Error; throw an Error instead");
    let error = ScriptContainer::from_source("x.js", "throw null").err().unwrap().to_string();
    assert_eq!(error, "x.js: threw null while it loaded, which is no Error; throw an Error");
}

#[test]
fn a_limit_that_is_caught_at_load_fails_the_load() {
    let options = Options { memory_bytes: 16 << 20, ..Options::default() };
    for (code, said) in [
        (
            "const f = () => f() + 1; try { f() } catch {}",
            "while it loaded, it recursed deeper than its 512 KiB of stack",
        ),
        ("try { 'x'.repeat(1 << 28) } catch {}", "it needed more than 16 MiB of memory"),
    ] {
        let text = format!("{code}; export const initialState = 0, methods = {{ go: () => 1 }}, reduce = s => s");
        let error = ScriptContainer::from_sources("x.js", [("x.js", text.as_str())], options.clone()).err().unwrap();
        assert!(error.to_string().contains(said), "{error}");
    }
}
