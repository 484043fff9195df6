//! What the lists of faults are made into.

/// An enumeration of faults, each with the case that notices it, out of a list of faults.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_fault_enum {
    (($name:ident) $($(#[doc = $doc:literal])* $test:ident $fault:ident => $case:ident)*) => {
        /// A fault that can be built into a backend: each is a bug that others shipped, or nearly
        /// did.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[doc = $doc])* $fault,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$fault),*];

            /// The name of the case that is there for it.
            #[must_use]
            pub fn noticed_by(self) -> &'static str {
                match self {
                    $(Self::$fault => stringify!($case),)*
                }
            }
        }
    };
}
