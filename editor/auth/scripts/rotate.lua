-- Replaces a session's secret, if it is the current one. KEYS: session, its user's sessions, its user's cut, revocations.
-- ARGV: family, hash of the secret, hash of the next one, grace (ms), retention of revocations (ms), channel.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local s = redis.call('HMGET', KEYS[1], 'hash', 'previous', 'rotated', 'began', 'expires', 'data')
if not s[1] then
  return {'unknown'}
end
local cut = redis.call('GET', KEYS[3])
if cut and tonumber(s[4]) <= tonumber(cut) then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  return {'revoked'}
end
if s[1] == ARGV[2] then
  redis.call('HSET', KEYS[1], 'hash', ARGV[3], 'previous', s[1], 'rotated', string.format('%.0f', now))
  return {'rotated', s[4], s[5], s[6]}
end
if s[2] == ARGV[2] and now - tonumber(s[3]) < tonumber(ARGV[4]) then
  if s[1] == ARGV[3] then
    return {'rotated', s[4], s[5], s[6]}
  end
  return {'replaced'}
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', string.format('%.0f', now - tonumber(ARGV[5])))
redis.call('ZADD', KEYS[4], string.format('%.0f', now), 'f ' .. ARGV[1])
redis.call('PUBLISH', ARGV[6], 'f ' .. ARGV[1])
return {'reused'}
