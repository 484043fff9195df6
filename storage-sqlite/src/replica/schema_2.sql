-- The newest erasure that a state knows of, in the codec's form.
ALTER TABLE document ADD COLUMN erased BLOB;

-- Holds a row while there may be bytes in the file of what was erased.
CREATE TABLE untidy (id INTEGER PRIMARY KEY CHECK (id = 1)) STRICT;
