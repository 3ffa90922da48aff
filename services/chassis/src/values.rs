//! Parsers of settings' values, beside those of [durations](crate::duration). An error
//! says what is allowed.

use reqwest::Url;

/// What is allowed for an address.
const ADDRESS: &str = "a URL is needed, such as https://host or http://host:8123";

/// A URL that begins with `http://` or `https://` and names a host, and no user, whose
/// password the settings would show.
pub fn http_url(text: &str) -> Result<Url, String> {
    let url = parsed(text)?;
    if url.username().is_empty() && url.password().is_none() {
        Ok(url)
    } else {
        Err(format!("{ADDRESS}, without a user"))
    }
}

/// A URL that begins with `http://` or `https://` and names a host, as it was written.
pub fn http_address(text: &str) -> Result<String, String> {
    parsed(text).map(|_| text.to_owned())
}

fn parsed(text: &str) -> Result<Url, String> {
    let url: Option<Url> = text.parse().ok();
    url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| ADDRESS.to_owned())
}

/// A whole number from 1.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    let number: Option<usize> = text.parse().ok();
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| "a whole number of at least 1 is needed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_url_of_http() {
        for text in [
            "https://api.hubapi.com",
            "http://127.0.0.1:8081/apis/ccompat/v7",
            "http://[::1]:8123/",
        ] {
            assert_eq!(http_address(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "clickhouse:8123",
            "api.hubapi.com",
            "ftp://x",
            "http://",
        ] {
            let refused = http_address(text).unwrap_err();
            assert!(refused.contains("https://host"), "{text}: {refused}");
        }
        assert!(http_url("https://api.hubapi.com").is_ok());
        assert!(http_url("https://ann:secret@api.hubapi.com").is_err());
    }

    #[test]
    fn a_number_is_at_least_one() {
        assert_eq!(at_least_one("1"), Ok(1));
        for text in ["0", "-1", "", "1k"] {
            assert!(at_least_one(text).is_err(), "{text}");
        }
    }
}
