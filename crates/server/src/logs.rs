//! Log files as streams: the last lines, then what is added, until the reader goes.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::{Body, Bytes};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// Between two looks at a file that may grow.
const POLL: Duration = Duration::from_millis(200);
const CHUNK_BYTES: usize = 64 * 1024;

/// Streams a file. `follow_while` says, when the end is reached, whether more may come.
pub(crate) async fn stream<F>(
    path: PathBuf,
    tail_lines: Option<usize>,
    follow_while: F,
) -> std::io::Result<Body>
where
    F: Fn() -> bool + Send + 'static,
{
    let mut file = File::open(&path).await?;
    let start = match tail_lines {
        Some(lines) => tail_offset(&path, lines).await?,
        None => 0,
    };
    file.seek(SeekFrom::Start(start)).await?;
    let state = (file, follow_while, false);
    let chunks = futures_util::stream::unfold(state, |(mut file, follow, mut last)| async move {
        loop {
            let mut buffer = vec![0; CHUNK_BYTES];
            match file.read(&mut buffer).await {
                Ok(0) if last => return None,
                // One more read after the writer's end, for what it wrote between our read and its end.
                Ok(0) if !follow() => last = true,
                // A log that was cut back (its old part was moved away) goes on from its new beginning.
                Ok(0) if was_cut(&mut file).await => {
                    let _ = file.seek(SeekFrom::Start(0)).await;
                }
                Ok(0) => tokio::time::sleep(POLL).await,
                Ok(count) => {
                    buffer.truncate(count);
                    return Some((Ok(Bytes::from(buffer)), (file, follow, last)));
                }
                Err(error) => return Some((Err(error), (file, follow, true))),
            }
        }
    });
    Ok(Body::from_stream(chunks))
}

async fn was_cut(file: &mut File) -> bool {
    let (position, metadata) = (file.stream_position().await, file.metadata().await);
    matches!((position, metadata), (Ok(position), Ok(metadata)) if metadata.len() < position)
}

/// Where the last `lines` lines begin, found from the end in chunks.
async fn tail_offset(path: &Path, lines: usize) -> std::io::Result<u64> {
    let mut file = File::open(path).await?;
    let length = file.metadata().await?.len();
    if lines == 0 {
        return Ok(length);
    }
    let (mut end, mut seen) = (length, 0);
    while end > 0 {
        let start = end.saturating_sub(CHUNK_BYTES as u64);
        file.seek(SeekFrom::Start(start)).await?;
        let mut buffer = vec![0; usize::try_from(end - start).unwrap_or(CHUNK_BYTES)];
        file.read_exact(&mut buffer).await?;
        for (index, byte) in buffer.iter().enumerate().rev() {
            let position = start + index as u64;
            // The newline that ends the file ends its last line, it begins none.
            if *byte == b'\n' && position + 1 < length {
                seen += 1;
                if seen == lines {
                    return Ok(position + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tail(content: &str, lines: usize) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, content).unwrap();
        let body = stream(path, Some(lines), || false).await.unwrap();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn tail_counts_lines_from_the_end() {
        assert_eq!(tail("a\nb\nc\n", 2).await, "b\nc\n");
        assert_eq!(tail("a\nb\nc", 2).await, "b\nc");
        assert_eq!(tail("a\nb\n", 9).await, "a\nb\n");
        assert_eq!(tail("a\nb\n", 0).await, "");
        assert_eq!(tail("", 3).await, "");
        assert_eq!(tail("\n\n\n", 1).await, "\n");
    }

    #[tokio::test]
    async fn tail_finds_lines_across_chunks() {
        let long = "x".repeat(CHUNK_BYTES - 1);
        let content = format!("first\n{long}\n{long}\nlast\n");
        assert_eq!(tail(&content, 1).await, "last\n");
        assert_eq!(tail(&content, 2).await, format!("{long}\nlast\n"));
        assert_eq!(tail(&content, 4).await, content);
    }

    #[tokio::test]
    async fn following_ends_when_nothing_more_may_come_and_misses_nothing() {
        use std::io::Write;
        use std::sync::Arc;
        use std::sync::atomic::{AtomicBool, Ordering};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "one\n").unwrap();
        let more = Arc::new(AtomicBool::new(true));
        let follow = Arc::clone(&more);
        let body = stream(path.clone(), None, move || follow.load(Ordering::SeqCst))
            .await
            .unwrap();
        let reading = tokio::spawn(axum::body::to_bytes(body, usize::MAX));
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap();
        file.write_all(b"two\n").unwrap();
        more.store(false, Ordering::SeqCst);
        assert_eq!(&reading.await.unwrap().unwrap()[..], b"one\ntwo\n");
    }
}
