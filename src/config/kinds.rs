//! Writes a closed list of kinds once, and everything that follows from it.
//!
//! Targets and actions have the same shape: a kind is a module with a `Config`, whose name is the
//! word in the configuration. What a kind can do is a trait named `Kind` where the list is.

/// Declares the modules of the kinds, the enum of their configurations, its reader, the keys for
/// the JSON Schema, and the way to what all kinds can do: `AnyKind`, where the list is.
macro_rules! kinds {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident { $($module:ident $variant:ident),* $(,)? }
    ) => {
        $(pub mod $module;)*

        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name {
            $(#[doc = concat!("`", stringify!($module), "`")] $variant(std::sync::Arc<$module::Config>),)*
        }

        impl $name {
            /// The kinds there are, as the configuration calls them.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($module)),*];

            /// Reads the keys of a kind's own from its table.
            pub(crate) fn read(
                kind: &str,
                table: &mut $crate::config::read::Table<'_, '_, '_>,
            ) -> Option<Self> {
                use $crate::config::read::FromTable;
                match kind {
                    $(stringify!($module) => {
                        $module::Config::from_table(table).map(std::sync::Arc::new).map(Self::$variant)
                    })*
                    _ => None,
                }
            }

            /// The keys of a kind's own, for the JSON Schema.
            pub(crate) fn keys(kind: &str) -> Vec<$crate::config::read::Key> {
                use $crate::config::read::FromTable;
                match kind {
                    $(stringify!($module) => $module::Config::keys(),)*
                    _ => Vec::new(),
                }
            }

            /// The kind's name.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => stringify!($module),)* }
            }

            /// The kind, whichever its type is.
            #[must_use]
            pub fn any(&self) -> &dyn AnyKind {
                match self { $(Self::$variant(config) => &**config,)* }
            }
        }
    };
}

pub(crate) use kinds;
