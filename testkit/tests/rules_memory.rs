//! Every rule, on the backend that lives in memory.

testkit::rule_traces!(testkit::cores::MemoryCores);
