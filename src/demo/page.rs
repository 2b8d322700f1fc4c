//! The page of the chat: embedded, so that the demo works offline and needs no files.

/// A file of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asset {
    /// `Content-Type`.
    pub(super) content_type: &'static str,
    /// The bytes.
    pub(super) body: &'static str,
}

/// The file at a path.
pub(super) fn asset(path: &str) -> Option<Asset> {
    let (content_type, body) = match path {
        "/" => ("text/html; charset=utf-8", include_str!("page/index.html")),
        "/style.css" => ("text/css; charset=utf-8", include_str!("page/style.css")),
        "/chat.js" => (
            "text/javascript; charset=utf-8",
            include_str!("page/chat.js"),
        ),
        "/icon.svg" => ("image/svg+xml", include_str!("page/icon.svg")),
        _ => return None,
    };
    Some(Asset { content_type, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that the page loads is embedded, and nothing is loaded from elsewhere.
    #[test]
    fn the_page_works_offline() {
        let html = asset("/").unwrap().body;
        let mut loaded = Vec::new();
        for attribute in ["src=\"", "href=\""] {
            for part in html.split(attribute).skip(1) {
                loaded.push(part.split('"').next().unwrap());
            }
        }
        assert_eq!(loaded.len(), 3, "{loaded:?}");
        for path in loaded {
            assert!(asset(path).is_some(), "{path} is not embedded");
        }
        for path in ["/style.css", "/chat.js"] {
            let body = asset(path).unwrap().body;
            assert!(!body.contains("//cdn") && !body.contains("https://"));
        }
    }
}
