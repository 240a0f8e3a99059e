"""Lua scripts that the online store runs atomically."""

# KEYS: one hash per row. ARGV: number of fields, number of former fields, the names of both (the version field is the
# last field), then the values row by row. Former fields are those of versions of the view that are no longer kept.
WRITE_NEWEST_ROWS = """
local fields, former = tonumber(ARGV[1]), tonumber(ARGV[2])
local version_field, offset, written, row, removed = ARGV[2 + fields], 2 + fields + former, 0, {}, {}
for j = 1, fields do row[2 * j - 1] = ARGV[j + 2] end
for j = 1, former do removed[j] = ARGV[2 + fields + j] end
local function is_newer(current, incoming)
  local a, b, c, d, e, f = struct.unpack('>i4I4i4I4i4I4', current)
  local u, v, w, x, y, z = struct.unpack('>i4I4i4I4i4I4', incoming)
  if a ~= u then return a < u end
  if b ~= v then return b < v end
  if c ~= w then return c < w end
  if d ~= x then return d < x end
  if e ~= y then return e < y end
  return f <= z
end
for i = 1, #KEYS do
  local current = redis.call('HGET', KEYS[i], version_field)
  if not current or is_newer(current, ARGV[offset + fields]) then
    for j = 1, fields do row[2 * j] = ARGV[offset + j] end
    redis.call('HSET', KEYS[i], unpack(row))
    if former > 0 then redis.call('HDEL', KEYS[i], unpack(removed)) end
    written = written + 1
  end
  offset = offset + fields
end
return written
"""

# KEYS: the marker. ARGV: edition id, time of publication, as_of, digest of the views, keyed hash of these. Times are in
# microseconds; a Lua number holds them exactly until the year 2255.
SET_LIVE_EDITION = """
local current = redis.call('HGET', KEYS[1], 'published')
if current and tonumber(current) > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'published', ARGV[2], 'as_of', ARGV[3], 'views', ARGV[4],
  'seal', ARGV[5])
return 1
"""
