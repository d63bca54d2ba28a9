//! The table of settings. A setting is a row of one of its sections; its value lives in `Settings`.

#[cfg(feature = "gateway")]
mod gateway;
#[cfg(feature = "gateway")]
mod log;
mod stack;

use super::setting::Setting;

/// Every setting, by section.
#[cfg(feature = "gateway")]
pub static TABLE: &[Setting] = &{
    const SECTIONS: [&[Setting]; 3] = [stack::SETTINGS, gateway::SETTINGS, log::SETTINGS];
    let mut all = [SECTIONS[0][0]; SECTIONS[0].len() + SECTIONS[1].len() + SECTIONS[2].len()];
    let (mut section, mut row, mut at) = (0, 0, 0);
    while at < all.len() {
        if row == SECTIONS[section].len() {
            (section, row) = (section + 1, 0);
        }
        all[at] = SECTIONS[section][row];
        (row, at) = (row + 1, at + 1);
    }
    all
};

/// Every setting.
#[cfg(not(feature = "gateway"))]
pub static TABLE: &[Setting] = stack::SETTINGS;

/// The setting with a key.
pub(super) fn by_key(key: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|setting| setting.key == key)
}
