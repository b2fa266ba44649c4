#!lua name=collab_v1

-- A shard has two keys: a hash with the term that the log is fenced for and with the last record (its writer's term and
-- counter), and a stream with the records, whose IDs are term-counter. A stream's IDs only rise, so that a former owner
-- cannot append after a newer one even where a fail-over lost the term that fences it.

local function number(value) return string.format('%.0f', value) end

-- check answers nil if the log is fenced for this term.
local function check(known, mine)
	local term = tonumber(known or 0)
	if term > mine then return redis.error_reply('FENCED ' .. number(term)) end
	if term < mine then return redis.error_reply('STALE ' .. number(term)) end
	return nil
end

-- KEYS: state. ARGV: term. Fences all lower terms.
redis.register_function('collab_v1_fence', function(keys, args)
	local known = redis.call('HGET', keys[1], 'epoch')
	if tonumber(known or 0) > tonumber(args[1]) then return redis.error_reply('FENCED ' .. known) end
	redis.call('HSET', keys[1], 'epoch', args[1])
	return redis.status_reply('OK')
end)

-- KEYS: state, log. ARGV: term, the counter up to which the database has everything, the counter of the first record,
-- and for each record itself and the channel that it is published to, or ''.
-- Records that are there already are skipped, so that the call can be repeated. All before the first must be there or
-- in the database; what is in the database is trimmed, with everything of lower terms.
redis.register_function('collab_v1_append', function(keys, args)
	local state = redis.call('HMGET', keys[1], 'epoch', 'writer', 'counter')
	local mine, drained, first = tonumber(args[1]), tonumber(args[2]), tonumber(args[3])
	local refused = check(state[1], mine)
	if refused then return refused end
	local last = 0
	if tonumber(state[2] or 0) == mine then last = tonumber(state[3]) end
	last = math.max(last, drained)
	if first > last + 1 then return redis.error_reply('GAP ' .. number(last)) end
	for i = 4, #args, 2 do
		local counter = first + (i - 4) / 2
		if counter > last then
			redis.call('XADD', keys[2], args[1] .. '-' .. number(counter), 'r', args[i])
			if args[i + 1] ~= '' then redis.call('PUBLISH', args[i + 1], args[i]) end
			last = counter
		end
	end
	redis.call('HSET', keys[1], 'writer', args[1], 'counter', number(last))
	redis.call('XTRIM', keys[2], 'MINID', args[1] .. '-' .. number(drained + 1))
	return redis.status_reply('OK')
end)
