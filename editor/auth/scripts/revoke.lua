-- Revokes. KEYS: revocations, then the family's session or the user's cut.
-- ARGV: kind (end: a family that has a session; family; user), name, retention of revocations (ms), how long a cut is
-- kept (ms), channel.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local member = 'f ' .. ARGV[2]
if ARGV[1] == 'user' then
  member = 'u ' .. now .. ' ' .. ARGV[2]
  redis.call('SET', KEYS[2], now, 'PX', ARGV[4])
elseif redis.call('DEL', KEYS[2]) == 0 and ARGV[1] == 'end' then
  return {'unknown'}
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', tonumber(now) - tonumber(ARGV[3])))
redis.call('ZADD', KEYS[1], now, member)
redis.call('PUBLISH', ARGV[5], member)
return {'revoked'}
