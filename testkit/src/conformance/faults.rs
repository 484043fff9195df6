//! The macro that expands the lists of faults.

/// Makes an enumeration of faults, each with the case that detects it, from a list.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_fault_enum {
    (($name:ident) $($(#[doc = $doc:literal])* $test:ident $fault:ident => $case:ident)*) => {
        /// A fault that can be built into a backend: each is a bug that a real project shipped, or
        /// nearly did.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[doc = $doc])* $fault,)*
        }

        impl $name {
            /// All faults.
            pub const ALL: &[Self] = &[$(Self::$fault),*];

            /// Returns the name of the case that detects it.
            #[must_use]
            pub fn noticed_by(self) -> &'static str {
                match self {
                    $(Self::$fault => stringify!($case),)*
                }
            }
        }
    };
}
