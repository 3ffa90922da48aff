//! JSON that is one value or a list of values.

use serde::de::DeserializeOwned;

/// Reads one value, or an array of them.
pub fn one_or_many<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<Vec<T>> {
    let many = json.trim_ascii_start().first() == Some(&b'[');
    if many {
        serde_json::from_slice(json)
    } else {
        Ok(vec![serde_json::from_slice(json)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_is_a_list_of_one() {
        assert_eq!(one_or_many::<u8>(b"7").unwrap(), [7]);
        assert_eq!(one_or_many::<u8>(b" [7, 8]").unwrap(), [7, 8]);
        assert!(one_or_many::<u8>(b"{}").is_err());
    }
}
