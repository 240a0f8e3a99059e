"""What runs inside the online store, in one step that no other client comes between."""

# KEYS: one hash a row. ARGV: how many fields, how many former ones, the names of both (of the fields the mark last),
# then the values row by row. Former fields are those that the view no longer has: they leave with the first newer row.
WRITE_NEWEST_ROWS = """
local fields, former = tonumber(ARGV[1]), tonumber(ARGV[2])
local mark, at, written, row, gone = ARGV[2 + fields], 2 + fields + former, 0, {}, {}
for j = 1, fields do row[2 * j - 1] = ARGV[j + 2] end
for j = 1, former do gone[j] = ARGV[2 + fields + j] end
local function newer(held, given)
  local a, b, c, d, e, f = struct.unpack('>i4I4i4I4i4I4', held)
  local u, v, w, x, y, z = struct.unpack('>i4I4i4I4i4I4', given)
  if a ~= u then return a < u end
  if b ~= v then return b < v end
  if c ~= w then return c < w end
  if d ~= x then return d < x end
  if e ~= y then return e < y end
  return f <= z
end
for i = 1, #KEYS do
  local held = redis.call('HGET', KEYS[i], mark)
  if not held or newer(held, ARGV[at + fields]) then
    for j = 1, fields do row[2 * j] = ARGV[at + j] end
    redis.call('HSET', KEYS[i], unpack(row))
    if former > 0 then redis.call('HDEL', KEYS[i], unpack(gone)) end
    written = written + 1
  end
  at = at + fields
end
return written
"""

# KEYS: the marker. ARGV: the digest of the views whose rows come now. Those of writers that were cut short stay by it.
ADD_PENDING_VIEWS = """
local held = redis.call('HGET', KEYS[1], 'pending_views') or ''
if not string.find(held, ARGV[1], 1, true) then redis.call('HSET', KEYS[1], 'pending_views', held .. ARGV[1] .. ' ') end
return 1
"""

# KEYS: the marker. ARGV: the edition, when it was published, up to when its knowledge goes, the digest of the views.
# An instant in microseconds is exact in a Lua number until the year 2255.
SET_LIVE_EDITION = """
local held = redis.call('HGET', KEYS[1], 'published')
if held and tonumber(held) > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'published', ARGV[2], 'as_of', ARGV[3], 'views', ARGV[4])
redis.call('HDEL', KEYS[1], 'pending_views')
return 1
"""
