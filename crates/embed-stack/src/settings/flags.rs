//! Flags: values from a command line, over those of the file and the variables.

use std::collections::BTreeMap;

use super::choices::Choice;
use super::draft::Draft;
use super::origin::Origin;
use super::setting::Setting;
use super::table::TABLE;

/// The flag that names the model of a service, or the one of the file's models that is used.
const MODEL_FLAG: &str = "model";

/// The values of flags, by their names without dashes; several values of one are separated by commas.
pub type Flags = BTreeMap<&'static str, String>;

/// The settings that share a flag; most flags have one.
pub fn sharing(flag: &str) -> impl Iterator<Item = &'static Setting> {
    TABLE.iter().filter(move |setting| setting.flag.is_some_and(|(name, _)| name == flag))
}

pub(super) fn apply(flags: &Flags, draft: &mut Draft) {
    for first in TABLE {
        let Some((flag, _)) = first.flag else { continue };
        let is_first = sharing(flag).next().is_some_and(|setting| setting.key == first.key);
        let Some(text) = flags.get(flag).filter(|_| is_first) else { continue };
        if flag == MODEL_FLAG && !draft.settings.is_preset() {
            draft.settings.only = Some(text.clone());
            continue;
        }
        // The service is the first in the table, so it is known by now.
        let service = draft.settings.service.name();
        let mut sharers = sharing(flag);
        let is_shared = sharing(flag).count() > 1;
        match sharers.find(|setting| !is_shared || setting.path().0 == service) {
            Some(setting) => draft.set(setting, Origin::Flag(flag), text),
            None => {
                let keys: Vec<_> = sharing(flag).map(|setting| setting.key).collect();
                let what = format!("{service} has several models; set {}", keys.join(" or "));
                draft.problems.push(format!("--{flag}: {what}"));
            }
        }
    }
}
