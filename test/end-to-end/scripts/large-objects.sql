\lo_import :file 'a file'
\lo_list
SELECT loid, count(*), sum(length(data)), md5(string_agg(md5(data), '' ORDER BY pageno)) FROM pg_largeobject WHERE loid = :LASTOID GROUP BY loid;
\lo_export :LASTOID :copy
\lo_export 1 :copy
\lo_unlink :LASTOID
\lo_list
SELECT lo_from_bytea(4242, '\x0102030405');
SELECT lo_get(4242, 1, 2);
\lo_export 4242 :copy
