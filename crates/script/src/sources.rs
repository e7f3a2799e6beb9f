//! The files of a script: found, read once, and kept, so that another heap loads the very same.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use conflux_core::Digest;

use crate::accessors;

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What Node.js tries when an import leaves out the end of a file's name.
const ENDINGS: [&str; 6] = ["", ".js", ".mjs", ".cjs", ".json", "/index.js"];

/// The files of one script, named relative to the directory of its first file: names that are the same on every node.
#[derive(Debug)]
pub(crate) struct Sources {
    /// Where files are looked for; `None` when there are only those in `texts`.
    root: Option<PathBuf>,
    entry: String,
    texts: Mutex<BTreeMap<String, Arc<str>>>,
}

impl Sources {
    /// The files around the one at `path`.
    pub(crate) fn on_disk(path: &Path) -> Result<Sources, String> {
        let path = path.canonicalize().map_err(|error| said(&error))?;
        let entry =
            path.file_name().and_then(|name| name.to_str()).ok_or("it has no file name that is UTF-8")?.to_owned();
        if path.is_dir() {
            return Err("it is a directory; name the JavaScript file in it".into());
        }
        let root = path.parent().map(Path::to_path_buf);
        Ok(Sources { root, entry, texts: Mutex::default() })
    }

    /// Files that are in memory.
    pub(crate) fn in_memory(entry: &str, texts: impl IntoIterator<Item = (String, Arc<str>)>) -> Sources {
        Sources { root: None, entry: entry.into(), texts: Mutex::new(texts.into_iter().collect()) }
    }

    /// The same files, as they were read.
    pub(crate) fn copy(&self) -> Sources {
        Sources::in_memory(&self.entry, self.texts().clone())
    }

    /// The first file.
    pub(crate) fn entry(&self) -> &str {
        &self.entry
    }

    /// The names of what was read so far.
    pub(crate) fn names(&self) -> Vec<String> {
        self.texts().keys().cloned().collect()
    }

    /// A digest of all that was read: names and texts, in the order of the names, the first file named first.
    pub(crate) fn digest(&self) -> Digest {
        let mut bytes = Vec::new();
        let mut add = |text: &str| {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        };
        add(&self.entry);
        for (name, text) in self.texts().iter() {
            add(name);
            add(text);
        }
        Digest::of_bytes(&bytes)
    }

    /// Which file an import means.
    pub(crate) fn resolve(&self, base: &str, specifier: &str) -> Result<String, String> {
        if !specifier.starts_with("./") && !specifier.starts_with("../") {
            return Err(format!(
                "cannot import {specifier:?} from {base}: only files beside the script can be imported, by ./ or ../; \
                 bundle packages into one file with: {}",
                self.bundling(base)
            ));
        }
        let name = self.normalized(base, specifier).ok_or_else(|| {
            format!("cannot import {specifier:?} from {base}: it lies outside the directory of the script")
        })?;
        supported(&name)
            .map_err(|why| format!("cannot import {specifier:?} from {base}: {why}: {}", self.bundling(base)))?;
        ENDINGS
            .iter()
            .map(|ending| format!("{name}{ending}"))
            .find(|candidate| self.exists(candidate))
            .ok_or_else(|| format!("cannot import {specifier:?} from {base}: there is no file {name}"))
    }

    /// The text of a file.
    pub(crate) fn read(&self, name: &str) -> Result<Arc<str>, String> {
        if let Some(text) = self.texts().get(name) {
            return Ok(text.clone());
        }
        let path = self.path(name).ok_or_else(|| format!("there is no file {name}"))?;
        let mut bytes = Vec::new();
        // What is no regular file does not say how long it is, and may have no end.
        let file = std::fs::File::open(&path).map_err(|error| said(&error))?;
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| said(&error))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("it has more than {FILE_BYTES_MAX} bytes, which is the most that is read"));
        }
        let text = String::from_utf8(bytes).map_err(|error| format!("it is not UTF-8: {}", error.utf8_error()))?;
        // A byte order mark is no part of the program.
        let text: Arc<str> = text.strip_prefix('\u{feff}').unwrap_or(&text).into();
        if text.contains('\0') {
            return Err("it has a byte 0, so it is no JavaScript".into());
        }
        self.texts().insert(name.to_owned(), text.clone());
        Ok(text)
    }

    /// Whether what was loaded so far may make getters: see [`accessors`].
    pub(crate) fn may_have_accessors(&self) -> bool {
        self.texts().values().any(|text| accessors::may_be_in(text))
    }

    /// The command that makes one file of many.
    pub(crate) fn bundling(&self, file: &str) -> String {
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        format!("npx esbuild {file} --bundle --format=esm --outfile={stem}.bundle.js")
    }

    fn normalized(&self, base: &str, specifier: &str) -> Option<String> {
        let mut parts: Vec<&str> = base.split('/').collect();
        parts.pop();
        for part in specifier.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()?),
                part if part.contains(['\\', ':', '\0']) => return None,
                part => parts.push(part),
            }
        }
        (!parts.is_empty()).then(|| parts.join("/"))
    }

    fn exists(&self, name: &str) -> bool {
        self.texts().contains_key(name) || self.path(name).is_some_and(|path| path.is_file())
    }

    /// Where a file is; a link that leads out of the directory is as good as no file.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let root = self.root.as_ref()?;
        let path = root.join(name).canonicalize().ok()?;
        path.starts_with(root).then_some(path)
    }

    fn texts(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<str>>> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses what is not JavaScript yet.
pub(crate) fn supported(name: &str) -> Result<(), String> {
    match name.rsplit_once('.') {
        Some((_, "ts" | "mts" | "cts")) => Err("it is TypeScript; make JavaScript of it with".into()),
        Some((_, "tsx" | "jsx")) => Err("it has JSX syntax; make JavaScript of it with".into()),
        _ => Ok(()),
    }
}

fn said(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        _ => format!("it cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Sources {
        let names = ["main.js", "lib/a.js", "lib/b/index.js", "data.json"];
        Sources::in_memory("main.js", names.map(|name| (name.to_owned(), Arc::from(name))))
    }

    #[test]
    fn imports_stay_in_the_directory() {
        let sources = sources();
        assert_eq!(sources.resolve("main.js", "./lib/a.js").as_deref(), Ok("lib/a.js"));
        assert_eq!(sources.resolve("main.js", "./lib/a").as_deref(), Ok("lib/a.js"));
        assert_eq!(sources.resolve("lib/a.js", "./b").as_deref(), Ok("lib/b/index.js"));
        assert_eq!(sources.resolve("lib/a.js", "../data.json").as_deref(), Ok("data.json"));
        for (base, specifier, part) in [
            ("main.js", "../main.js", "outside"),
            ("lib/a.js", "../../../etc/passwd", "outside"),
            ("main.js", "immer", "npx esbuild main.js --bundle"),
            ("main.js", "/etc/passwd", "by ./ or ../"),
            ("main.js", "./types.ts", "TypeScript"),
            ("main.js", "./nothing", "no file nothing"),
        ] {
            let error = sources.resolve(base, specifier).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_digest_tells_names_and_texts_apart() {
        let of = |texts: &[(&str, &str)]| {
            Sources::in_memory("a.js", texts.iter().map(|(name, text)| ((*name).to_owned(), Arc::from(*text)))).digest()
        };
        assert_eq!(of(&[("a.js", "1"), ("b.js", "2")]), of(&[("b.js", "2"), ("a.js", "1")]));
        assert_ne!(of(&[("a.js", "1")]), of(&[("a.js", "2")]));
        assert_ne!(of(&[("a.js", "12"), ("b", "")]), of(&[("a.js", "1"), ("b", "2")]));
    }
}
