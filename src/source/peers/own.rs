//! This replica's own token. The kubelet rotates it, so it is read before each use.

use std::path::Path;

use tokio::io::AsyncReadExt;

use super::token::MAX_TOKEN;

/// The token, or `None` if the file cannot be read or has none.
pub(super) async fn read(path: &Path) -> Option<String> {
    let file = tokio::fs::File::open(path).await.ok()?;
    let mut text = String::new();
    let most = u64::try_from(MAX_TOKEN).ok()? + 2;
    file.take(most).read_to_string(&mut text).await.ok()?;
    let token = text.trim();
    (!token.is_empty() && token.len() <= MAX_TOKEN).then(|| token.to_owned())
}
