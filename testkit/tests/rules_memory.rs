//! Every rule, on the backend in memory.

testkit::rule_traces!(testkit::cores::MemoryCores);
