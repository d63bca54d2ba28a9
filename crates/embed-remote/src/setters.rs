//! What writes the setters of a configuration.

/// Methods that set one public field each: `setters! { with_model(model: impl Into<String>); }`.
#[macro_export]
macro_rules! setters {
    ($($with:ident($field:ident: $given:ty);)*) => {$(
        #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
        #[must_use]
        pub fn $with(mut self, $field: $given) -> Self {
            self.$field = $field.into();
            self
        }
    )*};
}
