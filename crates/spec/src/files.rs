//! The files that a task ships: which ones, what is in them, and a copy that no longer changes.
//!
//! A folder is taken whole but for what `.skyignore` names, or, where there is none at its top,
//! what `.gitignore` files name (with or without a git repository). `.git` itself is never taken:
//! it changes without the program changing. Symbolic links are taken as links and never followed.
//! Sockets, pipes and devices are left out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use ignore::{DirEntry, WalkBuilder};

use crate::hash::{FilesDigest, add};

/// Name of the file that says what is not shipped.
const IGNORE_FILE: &str = ".skyignore";
const BUFFER_BYTES: usize = 1 << 16;

/// One file, folder or link of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path below the root of the tree; empty when the root is a single file.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
}

/// What an [`Entry`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A folder.
    Folder,
    /// A file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
        /// Its size in bytes.
        bytes: u64,
        /// BLAKE3 of its content.
        content: [u8; 32],
    },
    /// A symbolic link and what it says.
    Link {
        /// The target as written, which may point anywhere or nowhere.
        target: PathBuf,
    },
}

/// Why a tree could not be read or copied.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Something could not be read; the source says why.
    #[error("cannot read {}", path.display())]
    Read {
        /// What could not be read.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something could not be written; the source says why.
    #[error("cannot write {}", path.display())]
    Write {
        /// What could not be written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The rules for what to leave out, or the walk itself, failed.
    #[error("cannot list {}", root.display())]
    List {
        /// The tree.
        root: PathBuf,
        /// Why.
        source: ignore::Error,
    },
    /// A file was changed while it was being copied.
    #[error("{} was changed while it was being copied; try again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

/// Lists a tree with the content hash of each file, in the order of the paths' bytes. The root may
/// be a folder, a link to one, or a single file.
///
/// # Errors
/// When the root does not exist, or anything in it that is to be shipped cannot be read.
pub fn collect(root: &Path) -> Result<Vec<Entry>, FilesError> {
    let base = fs::canonicalize(root).map_err(|source| read_error(root, source))?;
    let metadata = fs::metadata(&base).map_err(|source| read_error(root, source))?;
    if metadata.is_file() {
        return Ok(vec![Entry {
            path: PathBuf::new(),
            kind: file(&base, &metadata)?,
        }]);
    }
    let mut entries = Vec::new();
    for found in walker(&base).build() {
        let found = found.map_err(|source| FilesError::List {
            root: root.to_owned(),
            source,
        })?;
        let Ok(path) = found.path().strip_prefix(&base) else {
            continue;
        };
        if path.as_os_str().is_empty() {
            continue;
        }
        let path = path.to_owned();
        if let Some(kind) = kind(&found)? {
            entries.push(Entry { path, kind });
        }
    }
    entries.sort_by(|left, right| {
        left.path
            .as_os_str()
            .as_bytes()
            .cmp(right.path.as_os_str().as_bytes())
    });
    Ok(entries)
}

fn walker(base: &Path) -> WalkBuilder {
    let mut walker = WalkBuilder::new(base);
    walker
        .standard_filters(false)
        .follow_links(false)
        .filter_entry(|entry| entry.file_name() != ".git");
    if base.join(IGNORE_FILE).is_file() {
        walker.add_custom_ignore_filename(IGNORE_FILE);
    } else {
        // Rules of the folders above count inside one repository only: a stray file elsewhere must
        // not decide what is shipped.
        let in_repository = base.ancestors().any(|folder| folder.join(".git").exists());
        walker
            .git_ignore(true)
            .git_exclude(true)
            .require_git(false)
            .parents(in_repository);
    }
    walker
}

fn kind(found: &DirEntry) -> Result<Option<EntryKind>, FilesError> {
    let path = found.path();
    let metadata = fs::symlink_metadata(path).map_err(|source| read_error(path, source))?;
    if metadata.is_dir() {
        return Ok(Some(EntryKind::Folder));
    }
    if metadata.is_symlink() {
        let target = fs::read_link(path).map_err(|source| read_error(path, source))?;
        return Ok(Some(EntryKind::Link { target }));
    }
    if metadata.is_file() {
        file(path, &metadata).map(Some)
    } else {
        Ok(None)
    }
}

fn file(path: &Path, metadata: &fs::Metadata) -> Result<EntryKind, FilesError> {
    let mut bytes = 0_u64;
    let mut hasher = blake3::Hasher::new();
    let opened = File::open(path).map_err(|source| read_error(path, source))?;
    each_block(opened, path, |block| {
        bytes += block.len() as u64;
        hasher.update(block);
        Ok(())
    })?;
    let executable = metadata.permissions().mode() & 0o100 != 0;
    Ok(EntryKind::File {
        executable,
        bytes,
        content: *hasher.finalize().as_bytes(),
    })
}

fn each_block(
    mut file: File,
    path: &Path,
    mut take: impl FnMut(&[u8]) -> Result<(), FilesError>,
) -> Result<(), FilesError> {
    let mut buffer = vec![0_u8; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => take(buffer.get(..length).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(read_error(path, source)),
        }
    }
}

/// The digest of a tree: paths, kinds, executable bits, link targets and contents.
#[must_use]
pub fn digest(entries: &[Entry]) -> FilesDigest {
    let mut hasher = blake3::Hasher::new();
    for entry in entries {
        add(&mut hasher, entry.path.as_os_str().as_bytes());
        match &entry.kind {
            EntryKind::Folder => add(&mut hasher, b"folder"),
            EntryKind::File {
                executable,
                content,
                ..
            } => {
                add(
                    &mut hasher,
                    if *executable { b"executable" } else { b"file" },
                );
                add(&mut hasher, content);
            }
            EntryKind::Link { target } => {
                add(&mut hasher, b"link");
                add(&mut hasher, target.as_os_str().as_bytes());
            }
        }
    }
    FilesDigest::of(hasher.finalize())
}

/// Copies a tree that was listed with [`collect`], with its modes and links. `destination` is made,
/// with its parents; for a tree that is a single file it is that file.
///
/// # Errors
/// When something cannot be read or written, or is no longer what was listed. What was copied so
/// far stays.
pub fn copy_to(entries: &[Entry], root: &Path, destination: &Path) -> Result<(), FilesError> {
    let base = fs::canonicalize(root).map_err(|source| read_error(root, source))?;
    let single = matches!(entries, [only] if only.path.as_os_str().is_empty());
    let folder = if single {
        destination.parent()
    } else {
        Some(destination)
    };
    if let Some(folder) = folder.filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|source| write_error(folder, source))?;
    }
    // Modes of folders are set last: a read-only folder could not be filled.
    let mut modes = Vec::new();
    for entry in entries {
        let (from, to) = if single {
            (base.clone(), destination.to_owned())
        } else {
            (base.join(&entry.path), destination.join(&entry.path))
        };
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(|source| write_error(parent, source))?;
        }
        match &entry.kind {
            EntryKind::Folder => {
                fs::create_dir_all(&to).map_err(|source| write_error(&to, source))?;
                let metadata = fs::metadata(&from).map_err(|source| read_error(&from, source))?;
                modes.push((to, metadata.permissions()));
            }
            EntryKind::Link { target } => {
                symlink(target, &to).map_err(|source| write_error(&to, source))?;
            }
            EntryKind::File { content, .. } => copy_file(&from, &to, content)?,
        }
    }
    for (path, permissions) in modes.into_iter().rev() {
        fs::set_permissions(&path, permissions).map_err(|source| write_error(&path, source))?;
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path, expected: &[u8; 32]) -> Result<(), FilesError> {
    // Not following a link keeps a file that was swapped for one from leading out of the tree.
    let metadata = fs::symlink_metadata(from).map_err(|source| read_error(from, source))?;
    if !metadata.is_file() {
        return Err(FilesError::Changed {
            path: from.to_owned(),
        });
    }
    let source = File::open(from).map_err(|source| read_error(from, source))?;
    let mut target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(|source| write_error(to, source))?;
    let mut hasher = blake3::Hasher::new();
    each_block(source, from, |block| {
        hasher.update(block);
        target
            .write_all(block)
            .map_err(|source| write_error(to, source))
    })?;
    if hasher.finalize().as_bytes() != expected {
        return Err(FilesError::Changed {
            path: from.to_owned(),
        });
    }
    fs::set_permissions(to, metadata.permissions()).map_err(|source| write_error(to, source))
}

fn read_error(path: &Path, source: io::Error) -> FilesError {
    FilesError::Read {
        path: path.to_owned(),
        source,
    }
}

fn write_error(path: &Path, source: io::Error) -> FilesError {
    FilesError::Write {
        path: path.to_owned(),
        source,
    }
}
