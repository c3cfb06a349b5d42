//! Copies of snapshots, one for each replica.
//!
//! `std::fs::copy` asks the kernel to copy (`copy_file_range`), which shares the blocks instead
//! where the file system can.

use std::fs::{self, File, FileTimes, Metadata};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Copies a file or a folder to `destination`, into it where both are folders. Keeps permissions,
/// times of files and symbolic links as they are. Devices, sockets and pipes are left out.
///
/// Never writes through a symbolic link that an earlier copy put in its way. Gives up when
/// `cancelled` says so.
pub(crate) fn copy(
    source: &Path,
    destination: &Path,
    cancelled: &dyn Fn() -> bool,
) -> io::Result<()> {
    let mut open: Vec<(PathBuf, PathBuf, Metadata)> = vec![(
        source.to_owned(),
        destination.to_owned(),
        fs::metadata(source)?,
    )];
    let mut folders = Vec::new();
    while let Some((from, to, metadata)) = open.pop() {
        if cancelled() {
            return Err(io::Error::new(
                io::ErrorKind::Interrupted,
                "the replica was asked to end",
            ));
        }
        if metadata.is_dir() {
            make_folder(&to)?;
            for entry in fs::read_dir(&from)? {
                let entry = entry?;
                open.push((entry.path(), to.join(entry.file_name()), entry.metadata()?));
            }
            folders.push((to, metadata.permissions()));
        } else if metadata.is_symlink() {
            make_way(&to)?;
            symlink(fs::read_link(&from)?, &to)?;
        } else if metadata.is_file() {
            make_way(&to)?;
            copy_file(&from, &to, &metadata)?;
        }
    }
    // Last and deepest first, for a folder may be read-only.
    for (folder, permissions) in folders.into_iter().rev() {
        fs::set_permissions(folder, permissions)?;
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path, metadata: &Metadata) -> io::Result<()> {
    fs::copy(from, to)?;
    if let Ok(modified) = metadata.modified() {
        // Build tools go by it, but a copy without it is still a copy.
        let _ =
            File::open(to).and_then(|file| file.set_times(FileTimes::new().set_modified(modified)));
    }
    Ok(())
}

/// Makes a folder where there is none; what is no folder gives way.
fn make_folder(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => fs::remove_file(path).and_then(|()| fs::create_dir(path)),
        Err(_) => fs::create_dir(path),
    }
}

/// Removes a file or link, so that nothing is written through it.
fn make_way(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

/// Makes the folders on the way to `path` below `root`. A symbolic link on the way would lead
/// elsewhere: it is refused.
pub(crate) fn make_parents(root: &Path, path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    let mut current = root.to_owned();
    for part in parent.strip_prefix(root).unwrap_or(parent).components() {
        current.push(part);
        match fs::symlink_metadata(&current) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                let message = format!("{} is in the way", current.display());
                return Err(io::Error::new(io::ErrorKind::NotADirectory, message));
            }
            Err(_) => fs::create_dir(&current)?,
        }
    }
    Ok(())
}

/// Removes a folder and all in it, also what its owner made unwritable; no error where there is
/// none.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_writable(path)?;
            fs::remove_dir_all(path)
        }
        result => result,
    }
}

fn make_writable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut open = vec![path.to_owned()];
    while let Some(folder) = open.pop() {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&folder)?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn never() -> bool {
        false
    }

    #[test]
    fn a_copy_is_like_the_original_and_apart_from_it() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("sub/empty")).unwrap();
        fs::write(from.join("sub/tool"), "original").unwrap();
        fs::set_permissions(from.join("sub/tool"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("tool", from.join("sub/link")).unwrap();
        symlink("/nowhere", from.join("dangling")).unwrap();
        fs::set_permissions(from.join("sub"), fs::Permissions::from_mode(0o555)).unwrap();
        copy(&from, &to, &never).unwrap();
        assert_eq!(
            fs::read_link(to.join("sub/link")).unwrap(),
            Path::new("tool")
        );
        assert_eq!(
            fs::read_link(to.join("dangling")).unwrap(),
            Path::new("/nowhere")
        );
        assert!(to.join("sub/empty").is_dir());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(&to.join("sub/tool")), mode(&to.join("sub"))),
            (0o755, 0o555)
        );
        let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(
            modified(&to.join("sub/tool")),
            modified(&from.join("sub/tool"))
        );
        fs::write(to.join("sub/tool"), "changed").unwrap();
        assert_eq!(fs::read(from.join("sub/tool")).unwrap(), b"original");
        remove(&to).unwrap();
        remove(&to).unwrap();
        assert!(!to.exists());
        fs::set_permissions(from.join("sub"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (outside, home) = (folder.path().join("outside"), folder.path().join("home"));
        fs::create_dir(&outside).unwrap();
        fs::create_dir(&home).unwrap();
        fs::write(outside.join("file"), "precious").unwrap();
        symlink(outside.join("file"), home.join("file")).unwrap();
        symlink(&outside, home.join("folder")).unwrap();
        fs::write(folder.path().join("new"), "new").unwrap();
        copy(&folder.path().join("new"), &home.join("file"), &never).unwrap();
        assert_eq!(fs::read(outside.join("file")).unwrap(), b"precious");
        assert_eq!(fs::read(home.join("file")).unwrap(), b"new");
        assert!(make_parents(&home, &home.join("folder/sub/file")).is_err());
        assert!(make_parents(&home, &home.join("a/b/file")).is_ok());
        assert!(home.join("a/b").is_dir());
    }

    #[test]
    fn a_copy_can_be_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let error = copy(folder.path(), &folder.path().join("x"), &|| true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }
}
