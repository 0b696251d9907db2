//! Lines a server would not take, kept in a file for a person to look at.
//!
//! The file has the server's words as comments; what is in it as line protocol can be mended and
//! written again as it is. It never grows without bound: a full one becomes `.lp.old`,
//! in place of the one that was.

use std::path::{Path, PathBuf};

use tokio::fs;
use tokio::io::AsyncWriteExt;

/// Most bytes of a file; there are two, so twice this on the disk.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// One sink's quarantine.
#[derive(Debug)]
pub struct Quarantine {
    sink: String,
    path: PathBuf,
    file_bytes_max: u64,
    /// Whether the last line could be kept, so that the change is what is logged.
    works: bool,
    /// Why the last line is here: a thousand lines for one reason are one thing to tell.
    told: String,
}

impl Quarantine {
    /// Makes no file before there is something to put in it.
    pub(in crate::sinks) fn new(state_dir: &Path, sink: &str) -> Self {
        // The name is the user's, and TOML allows every character in it.
        let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        let file = format!("{}.lp", sink.chars().map(safe).collect::<String>());
        Self {
            sink: sink.to_owned(),
            path: state_dir.join("quarantine").join(file),
            file_bytes_max: FILE_BYTES_MAX,
            works: true,
            told: String::new(),
        }
    }

    /// Keeps lines, each with its newline, and why they are here.
    pub(super) async fn add(&mut self, lines: &[u8], words: &str) {
        let first = String::from_utf8_lossy(lines.split(|b| *b == b'\n').next().unwrap_or(&[]));
        let line = crate::http_client::shown(&first);
        match self.append(lines, words).await {
            Ok(()) => {
                if self.told != words {
                    let (sink, path) = (&self.sink, self.path.display());
                    tracing::warn!(
                        sink, %path, line, words, "the server refused a line, put in quarantine"
                    );
                    words.clone_into(&mut self.told);
                }
                self.works = true;
            }
            Err(error) => {
                if std::mem::take(&mut self.works) {
                    let path = self.path.display();
                    tracing::error!(
                        sink = self.sink, %path, %error, line, words,
                        "the server refused a line, and it cannot be kept in quarantine"
                    );
                }
            }
        }
    }

    async fn append(&self, lines: &[u8], words: &str) -> std::io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).await?;
        }
        let size = fs::metadata(&self.path).await.map_or(0, |file| file.len());
        let text = [b"# ", words.as_bytes(), b"\n", lines].concat();
        if size > 0 && size + text.len() as u64 > self.file_bytes_max {
            fs::rename(&self.path, self.path.with_extension("lp.old")).await?;
        }
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&self.path).await?;
        file.write_all(&text).await?;
        file.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_is_kept_with_the_servers_words_and_the_files_stay_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let mut quarantine = Quarantine::new(folder.path(), "influxdb.a/../b");
        quarantine.file_bytes_max = 30;
        quarantine.add(b"m f=1 1\n", "no good").await;
        let path = folder.path().join("quarantine/influxdb.a_.._b.lp");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "# no good\nm f=1 1\n");
        for n in 0..10 {
            quarantine.add(format!("m f={n} 1\n").as_bytes(), "no good").await;
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "# no good\nm f=9 1\n");
        let old = std::fs::read_to_string(path.with_extension("lp.old")).unwrap();
        assert_eq!(old, "# no good\nm f=8 1\n");
        assert_eq!(std::fs::read_dir(folder.path().join("quarantine")).unwrap().count(), 2);
    }

    #[tokio::test]
    async fn an_unwritable_folder_loses_the_line_but_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("quarantine"), "a file").unwrap();
        let mut quarantine = Quarantine::new(folder.path(), "main");
        quarantine.add(b"m f=1 1\n", "no").await;
        assert!(!quarantine.works);
    }
}
