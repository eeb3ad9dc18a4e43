<?php
class Post extends Model
{
    // ruleid: php-missing-input-validation-unguarded
    protected $guarded = [];
}

class Tag extends Model
{
    // ok: php-missing-input-validation-unguarded
    protected $guarded = ['id', 'owner_id'];
    // ok: php-missing-input-validation-unguarded
    protected $fillable = [];
}

class PostController
{
    public function store(Request $request)
    {
        // ruleid: php-missing-input-validation-mass-assignment
        $post = Post::create($request->all());
        // ruleid: php-missing-input-validation-mass-assignment
        $post->update(request()->all());
        // ok: php-missing-input-validation-mass-assignment
        $post->fill($request->only(['title', 'body']));
        // ok: php-missing-input-validation-mass-assignment
        $post->update($request->validated());
        // ok: php-missing-input-validation-mass-assignment
        $validator = Validator::make($request->all(), ['title' => 'required']);
        // ruleid: php-missing-input-validation-unguarded
        Model::unguard();
        return $post;
    }
}
