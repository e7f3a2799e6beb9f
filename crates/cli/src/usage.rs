//! Usage errors, for people.

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue};
use conflux_core::CallError;

/// A usage error on one line, and where the help is that serves: that of the command that was named, if one was.
pub(crate) fn told<P: CommandFactory>(error: &clap::Error, name: &str, arguments: &[String]) -> String {
    let top = P::command();
    let mut told = one_line(error);
    if let Some(ContextValue::String(wrong)) = error.get(ContextKind::InvalidSubcommand)
        && error.get(ContextKind::SuggestedSubcommand).is_none()
    {
        // clap knows what begins alike; two letters that changed places are the commoner slip.
        let names = top.get_subcommands().map(|known| known.get_name().to_owned()).collect();
        if let CallError::UnknownMethod { near, .. } = CallError::unknown_method(wrong, names)
            && let Some(near) = near.first()
        {
            told += &format!(" tip: a similar subcommand exists: '{near}'");
        }
    }
    let (mut command, mut path) = (&top, name.to_owned());
    for argument in arguments {
        let Some(named) = command.find_subcommand(argument) else { break };
        path += &format!(" {argument}");
        command = named;
    }
    format!("{told} (see `{path} --help`)")
}

/// A usage error on one line; clap's own takes several.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let told = text.find("\n\nUsage:").or_else(|| text.find("\n\nFor more")).map_or(text.as_str(), |end| &text[..end]);
    let words: Vec<&str> = told.split_whitespace().collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::Program;

    fn error(arguments: &[&str]) -> String {
        one_line(&Program::try_parse_from(arguments).expect_err("the arguments are wrong"))
    }

    #[test]
    fn usage_errors_are_a_line_that_names_the_thing() {
        assert_eq!(
            error(&["conflux", "dev", "a.js", "--nodes", "0"]),
            "invalid value '0' for '--nodes <N>': the number of nodes is a number from 1 to 64"
        );
        assert_eq!(
            error(&["conflux", "dev", "a.js", "--nodes", "x"]),
            "invalid value 'x' for '--nodes <N>': the number of nodes is a number from 1 to 64"
        );
        assert_eq!(error(&["conflux", "dev"]), "the following required arguments were not provided: <APP.js>");
        assert_eq!(
            error(&["conflux", "dev", "a.js", "--node", "3"]),
            "unexpected argument '--node' found tip: a similar argument exists: '--nodes'"
        );
        assert_eq!(error(&["conflux", "deb"]), "unrecognized subcommand 'deb' tip: a similar subcommand exists: 'dev'");
        let told = |arguments: &[&str]| {
            let error = Program::try_parse_from(arguments).expect_err("the arguments are wrong");
            let rest: Vec<String> = arguments[1..].iter().map(|&argument| argument.to_owned()).collect();
            super::told::<Program>(&error, "conflux", &rest)
        };
        assert_eq!(
            told(&["conflux", "dve", "a.js"]),
            "unrecognized subcommand 'dve' tip: a similar subcommand exists: 'dev' (see `conflux --help`)"
        );
        assert!(told(&["conflux", "xyzzy"]).ends_with("'xyzzy' (see `conflux --help`)"));
        assert!(told(&["conflux", "dev"]).ends_with("<APP.js> (see `conflux dev --help`)"));
        assert!(told(&["conflux", "tls", "init", "--name", "a"]).ends_with("(see `conflux tls init --help`)"));
        assert!(error(&["conflux", "bench", "--callers", "1,0"]).contains("'0' for '--callers <N,...>'"));
        assert!(
            error(&["conflux", "dev", "a.js", "--heartbeat", "5d"])
                .ends_with("which is ms, s, m or h, as in 300ms, 1.5s or 2m")
        );
        assert_eq!(
            error(&["conflux", "dev", "a.js", "--nodes", "-1"]),
            "invalid value '-1' for '--nodes <N>': the number of nodes is a number from 1 to 64"
        );
        assert_eq!(
            error(&["conflux", "dev", "a.js", "--seed", "-1"]),
            "invalid value '-1' for '--seed <N>': a seed is a whole number from 0 to 18446744073709551615"
        );
        assert!(
            error(&["conflux", "dev", "a.js", "--deadline", "5"])
                .contains("'5' for '--deadline <TIME>': times are written with their unit")
        );
    }
}
