//! Every `select!` of what is simulated, and of the simulation, begins with `biased;`: otherwise it asks, in an order that no seed
//! decides. Clippy could forbid the macro, and not this one way of it.

use std::fs;
use std::path::Path;

use crate::examples::read;
use crate::steps::Failure;

/// Where one seed has to be one trace.
const FOLDERS: [&str; 4] = ["crates/core", "crates/conflux", "crates/script", "crates/sim"];

pub(crate) fn check(root: &Path) -> Result<(), Failure> {
    let (mut count, mut found) = (0, Vec::new());
    for folder in FOLDERS {
        look(root, &root.join(folder), &mut count, &mut found)?;
    }
    if !found.is_empty() {
        return Err(format!("a select! does not begin with `biased;`, so that chance decides:\n{}", found.join("\n")));
    }
    println!("     {count} begin with `biased;`");
    Ok(())
}

fn look(root: &Path, folder: &Path, count: &mut usize, found: &mut Vec<String>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    for path in paths {
        if path.is_dir() {
            look(root, &path, count, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = read(&path)?;
            *count += text.matches(SELECT).count();
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            found.extend(unbiased(&text).into_iter().map(|line| format!("  {name}:{line}")));
        }
    }
    Ok(())
}

const SELECT: &str = "select! {";

/// The lines of those that do not begin so. rustfmt sees to it that all of them are written alike.
fn unbiased(text: &str) -> Vec<usize> {
    let is_biased = |at: usize| text[at + SELECT.len()..].trim_start().starts_with("biased;");
    let places = text.match_indices(SELECT).filter(|(at, _)| !is_biased(*at));
    places.map(|(at, _)| text[..at].matches('\n').count() + 1).collect()
}

#[cfg(test)]
mod tests {
    use super::unbiased;

    #[test]
    fn one_that_asks_by_chance_is_found() {
        let biased = "let a = tokio::select! {\n    biased;\n    () = b => {}\n};\n";
        assert!(unbiased(biased).is_empty());
        assert_eq!(unbiased(&format!("{biased}tokio::select! {{\n    () = b => {{}}\n}}\n")), [5]);
    }
}
