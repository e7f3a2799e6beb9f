//! `conflux init`: an application to start from.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Refusal};
use crate::output::say;

/// The files it writes.
const FILES: [(&str, &str); 4] = [
    ("app.js", include_str!("../templates/app.js")),
    ("conflux.d.ts", include_str!("../templates/conflux.d.ts")),
    ("lines.txt", include_str!("../templates/lines.txt")),
    ("README.md", include_str!("../templates/README.md")),
];

/// Writes the application into a directory, which is made.
pub(crate) fn run(directory: &Path) -> Result<Exit, Refusal> {
    let paths: Vec<PathBuf> = FILES.iter().map(|(name, _)| directory.join(name)).collect();
    // All or none: half an application on top of somebody's own files helps nobody.
    let existing: Vec<String> =
        paths.iter().filter(|path| path.symlink_metadata().is_ok()).map(|path| path.display().to_string()).collect();
    if !existing.is_empty() {
        let existing = existing.join(", ");
        return Err(Refusal::new(format!(
            "{existing}: already there, and never overwritten; choose another directory"
        )));
    }
    fs::create_dir_all(directory).map_err(|error| Refusal::of_file(directory, &error))?;
    for (path, (_, content)) in paths.iter().zip(FILES) {
        write_new(path, content).map_err(|error| Refusal::of_file(path, &error))?;
    }
    // Only now: an output that nobody reads must not leave half an application.
    for path in &paths {
        say!("wrote {}", path.display())?;
    }
    say!("now: conflux dev {}", paths[0].display())?;
    Ok(Exit::Good)
}

fn write_new(path: &Path, content: &str) -> std::io::Result<()> {
    fs::File::create_new(path)?.write_all(content.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existing_files_are_named_and_kept() {
        let directory = std::env::temp_dir().join(format!("conflux-init-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        assert_eq!(run(&directory), Ok(Exit::Good));
        fs::remove_file(directory.join("README.md")).expect("it was written");
        fs::write(directory.join("app.js"), "mine").expect("the directory is writable");
        let refusal = run(&directory).expect_err("files are there").to_string();
        assert!(refusal.contains("app.js, ") && refusal.contains("lines.txt: already there"), "{refusal}");
        assert_eq!(fs::read_to_string(directory.join("app.js")).expect("it is there"), "mine");
        assert!(!directory.join("README.md").exists());
        fs::remove_dir_all(&directory).expect("it was made here");
    }
}
