//! What clients may say about managers: the name that stands for one that gives none, and what managedFields may hold.

use serde_json::Value;

use super::managed::Managed;

/// How long a manager's name may be.
const MAX_NAME: usize = 128;

/// The name of a request's field manager: the one it gives, or else the beginning of its User-Agent.
pub fn manager_name(field_manager: &str, user_agent: &str) -> String {
    if !field_manager.is_empty() {
        return field_manager.into();
    }
    let product = user_agent.split('/').next().unwrap_or_default();
    let mut name = String::new();
    for character in product.chars().filter(|character| is_printable(*character)) {
        if name.len() + character.len_utf8() > MAX_NAME {
            break;
        }
        name.push(character);
    }
    name
}

/// Whether Go calls a character printable, for the characters that a User-Agent can hold.
fn is_printable(character: char) -> bool {
    character == ' ' || !(character.is_control() || character.is_whitespace())
}

/// Whether managedFields can be read: what mutating admission left of them is thrown away when not, with this reason as
/// a warning.
pub fn check_managed_fields(object: &Value) -> Result<(), String> {
    let Some(entries) = super::managed::of(object) else {
        return Ok(());
    };
    Managed::read(entries.clone())?.decode_all()
}
